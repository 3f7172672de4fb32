"""Creates the buckets named on the command line if they do not exist."""

import os
import sys

import boto3

s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
for name in sys.argv[1:]:
    if name in existing:
        print(f"bucket {name} exists")
    else:
        s3.create_bucket(Bucket=name)
        print(f"bucket {name} created")
