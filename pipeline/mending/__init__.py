"""What a person can do about landed data that is wrong or unwanted: withdraw, replay, erase."""
