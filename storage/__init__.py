"""The book on disk. The only importer of lmdb."""
