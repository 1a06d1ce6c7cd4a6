"""Chat templates of the usual shapes, and the special tokens they write."""

from __future__ import annotations

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template most models use."""

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

THINKING_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{{ message['content'].split('</think>')[-1] }}"
    "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""ChatML of a model that writes `<think>` itself, and not when `enable_thinking` is false."""

OPENED_THINKING_CHATML = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""ChatML whose prompt opens the reasoning block."""

AFTER_TOOL = "<|after_tool|>"
TOOL_CHATML = (
    "{% if tools %}<|im_start|>system\n# Tools\n<tools>"
    "{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>\n"
    'For a call, write <tool_call>\n{"name": "…", "arguments": {…}}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for message in messages %}"
    "<|im_start|>{{ 'user' if message['role'] == 'tool' else message['role'] }}\n"
    "{% if message['role'] == 'tool' %}<tool_response>\n{{ message['content'] }}\n</tool_response>"
    "{% else %}{{ message['content'] or '' }}{% endif %}"
    "{% for call in message.tool_calls or [] %}{% set tool_call = call.function %}<tool_call>\n"
    '{"name": {{ tool_call.name | tojson }}, "arguments": {{ tool_call.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if messages[-1]['role'] == 'tool' %}" + AFTER_TOOL + "{% endif %}{% endif %}"
)
"""ChatML with tools as Hermes and Qwen write them. A prompt that follows a tool's result ends with `AFTER_TOOL`, so
that `scripted_model(after={AFTER_TOOL: …})` calls a tool first and then answers."""

TOOL_CHATML_TOKENS = (*CHATML_TOKENS, "<tool_call>", "</tool_call>", AFTER_TOOL)

HARMONY = (
    "{% if tools %}<|start|>developer<|message|># Tools\n"
    "{% for tool in tools %}{{ tool.function.name }}: {{ tool.function.description }}\n{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    "<|start|>assistant to=functions.{{ call.function.name }}<|channel|>commentary json<|message|>"
    "{{ call.function.arguments | tojson }}<|call|>{% endfor %}{% endif %}"
    "{% if message['content'] or not message.tool_calls %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message['content'] }}"
    "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% endif %}"
    "{% else %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""The shape of gpt-oss' template."""

HARMONY_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)
