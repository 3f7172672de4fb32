"""The digest of a snapshot."""

from benchmarks.curvature.snapshots import digest
from tests.benchmarks.curvature.linear_snapshots import IMAGES, LABELS, snapshot


def test_digest_depends_on_weights_images_and_labels() -> None:
    model = snapshot(0).model
    digests = {digest(model, IMAGES, LABELS), digest(snapshot(1).model, IMAGES, LABELS)}
    assert len(digests | {digest(model, IMAGES + 1, LABELS), digest(model, IMAGES, LABELS.flip(0))}) == 4
    assert digest(snapshot(0).model, IMAGES, LABELS) in digests
