"""An adapter's mistakes, found in seconds: the package against its documentation, and features against the future."""
