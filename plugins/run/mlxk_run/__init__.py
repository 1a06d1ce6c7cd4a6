"""The commands `run` and `chats`: one answer, or a chat, at a terminal."""
