# How the tests start each agent. MODEL is a scripted model there; the lines between the marks are shown in the docs.
# --8<-- [start:aider]
mlxk launch aider -m MODEL -- --yes-always --no-git --message "Write hello.txt"
# --8<-- [end:aider]
# --8<-- [start:claude]
mlxk launch claude -m MODEL -- --allowedTools Bash -p "Write hello.txt"
# --8<-- [end:claude]
# --8<-- [start:cline]
mlxk launch cline -m MODEL -- "Write hello.txt"
# --8<-- [end:cline]
# --8<-- [start:codex]
mlxk launch codex -m MODEL -- exec --skip-git-repo-check --sandbox workspace-write "Write hello.txt"
# --8<-- [end:codex]
# --8<-- [start:opencode]
mlxk launch opencode -m MODEL -- run "Write hello.txt"
# --8<-- [end:opencode]
# --8<-- [start:qwen]
mlxk launch qwen -m MODEL -- --approval-mode yolo -p "Write hello.txt"
# --8<-- [end:qwen]
