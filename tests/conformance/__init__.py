"""The conformance suite on our own backends, and the tests of the suite itself."""
