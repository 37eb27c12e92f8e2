"""What is published of a result, the same in the node and in a replay: topics, and how each message is made."""
