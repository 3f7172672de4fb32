"""Makes the bucket named on the command line, where there is none."""

import os
import sys

import boto3

s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
name = sys.argv[1]
if name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    print(f"bucket {name} is there")
else:
    s3.create_bucket(Bucket=name)
    print(f"bucket {name} made")
