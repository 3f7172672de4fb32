"""Images: their files, downloads, decoded copies and augmentation."""
