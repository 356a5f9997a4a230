"""The parts of ``clearing.verify``: columns of both documents, and the checks on them."""
