"""The `drive-seg` command line: one file a subcommand."""
