"""The table of formats that put reasoning into blocks: one row a format, read by `blocks.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BlockFormat:
    """A format of the shape `opener reasoning closer answer`.

    `label` is a name the model writes right after the opener. `frame` and `frame_end` are markers around the answer:
    the first at its beginning only, the second once the frame is open (a closer opens it where `frame` is empty).
    `ends` close a block that was not closed, and belong to the content; so do `calls`, which begin a tool call, if the
    format is given the request's tools. A closer right after one of `call_ends` is dropped: a call inside a block.
    `noise` is dropped anywhere in the answer: special tokens, which are never words of an answer. `sentences` says that
    the openers are ordinary prose and count at the beginning of the response alone. `assume_open` begins inside a block
    when the prompt does not say.

    `opening` is what the model writes between a closer and its answer, `direct` what it writes before an answer
    without reasoning; a constrained answer follows them.

    `signs` are texts of which all must stand in a chat template that is for this format, `tokens` those that must be in
    the vocabulary of a model whose template does not tell (a marker may begin with one), and `architectures` are
    `model_type`s that write it.
    """

    name: str
    summary: str
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    label: str = ""
    frame: tuple[str, ...] = ()
    frame_end: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    call_ends: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    sentences: bool = False
    assume_open: bool = False
    opening: str = ""
    direct: str = ""
    signs: tuple[tuple[str, ...], ...] = ()
    tokens: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()


# What the models that write <think> call tools with: Qwen and GLM, Kimi, LFM2, MiniMax, DeepSeek (four generations),
# Nemotron.
_TOOL_CALLS = (
    "<tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_start|>",
    "<minimax:tool_call>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜DSML｜function_calls>",
    "<｜DSML｜tool_calls>",
    "<TOOLCALL>",
)

# The ends of those.
_TOOL_CALL_ENDS = (
    "</tool_call>",
    "<|tool_calls_section_end|>",
    "<|tool_call_end|>",
    "</minimax:tool_call>",
    "<｜tool▁calls▁end｜>",
    "</｜DSML｜function_calls>",
    "</｜DSML｜tool_calls>",
    "</TOOLCALL>",
)

GEMMA4 = BlockFormat(
    name="gemma4",
    summary="Gemma 4: <|channel>thought … <channel|>",
    openers=("<|channel>",),
    closers=("<channel|>",),
    label="thought\n",
    calls=("<|tool_call>",),
    noise=("<channel|>",),
    signs=(("<|channel>",), ("<channel|>",)),
    tokens=("<|channel>", "<channel|>"),
)
KIMI_K3 = BlockFormat(
    name="kimi_k3",
    summary="Kimi K3: <|open|>think<|sep|> … <|close|>think<|sep|>, the answer framed alike",
    openers=("<|open|>think<|sep|>",),
    closers=("<|close|>think<|sep|>",),
    frame=("<|open|>response<|sep|>",),
    frame_end=("<|close|>response<|sep|>",),
    opening="<|open|>response<|sep|>",
    direct="<|open|>response<|sep|>",
    ends=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|open|>tools<|sep|>", "<|close|>message<|sep|>"),
    noise=(
        "<|close|>think<|sep|>",
        "<|open|>response<|sep|>",
        "<|close|>response<|sep|>",
        "<|close|>message<|sep|>",
    ),
    signs=(("<|open|>", "<|sep|>", "<|close|>"),),
    tokens=("<|open|>", "<|sep|>", "<|close|>"),
)
_COHERE_FRAME = ("<|START_RESPONSE|>", "<|START_TEXT|>")
_COHERE_FRAME_END = ("<|END_RESPONSE|>", "<|END_TEXT|>")
COHERE = BlockFormat(
    name="cohere",
    summary="Command A Reasoning: <|START_THINKING|> … <|END_THINKING|>, the answer framed",
    openers=("<|START_THINKING|>",),
    closers=("<|END_THINKING|>",),
    frame=_COHERE_FRAME,
    opening="<|START_RESPONSE|>",
    frame_end=_COHERE_FRAME_END,
    ends=_COHERE_FRAME,
    calls=("<|START_ACTION|>",),
    noise=(*_COHERE_FRAME, *_COHERE_FRAME_END, "<|END_THINKING|>"),
    signs=(("<|START_THINKING|>",),),
    tokens=("<|START_THINKING|>", "<|END_THINKING|>"),
)
APERTUS = BlockFormat(
    name="apertus",
    summary="Apertus: <|inner_prefix|> … <|inner_suffix|>",
    openers=("<|inner_prefix|>",),
    closers=("<|inner_suffix|>",),
    calls=("<|tools_prefix|>",),
    noise=("<|inner_suffix|>",),
    signs=(("<|inner_prefix|>",),),
    tokens=("<|inner_prefix|>", "<|inner_suffix|>"),
)
SEED = BlockFormat(
    name="seed",
    summary="Seed-OSS: <seed:think> … </seed:think>",
    openers=("<seed:think>",),
    closers=("</seed:think>",),
    calls=("<seed:tool_call>",),
    call_ends=("</seed:tool_call>",),
    signs=(("seed:think",),),
    tokens=("<seed:think>", "</seed:think>"),
)
MINIMAX_M3 = BlockFormat(
    name="minimax_m3",
    summary="MiniMax-M3: <mm:think> … </mm:think>",
    openers=("<mm:think>",),
    closers=("</mm:think>",),
    calls=("]<]minimax[>[<tool_call>", "<minimax:tool_call>"),
    call_ends=("]<]minimax[>[</tool_call>", "</minimax:tool_call>"),
    signs=(("mm:think>",),),
    tokens=("<mm:think>", "</mm:think>"),
)
LONGCAT = BlockFormat(
    name="longcat",
    summary="LongCat: <longcat_think> … </longcat_think>",
    openers=("<longcat_think>",),
    closers=("</longcat_think>",),
    calls=("<longcat_tool_call>",),
    call_ends=("</longcat_tool_call>",),
    signs=(("longcat_think>",),),
    tokens=("<longcat_think>", "</longcat_think>"),
)
K2_HORIZON = BlockFormat(
    name="k2_horizon",
    summary="K2-Horizon: <ifm|think> … </ifm|think>, one pair an effort",
    openers=("<ifm|think>", "<ifm|think_fast>", "<ifm|think_faster>"),
    closers=("</ifm|think>", "</ifm|think_fast>", "</ifm|think_faster>"),
    calls=("<ifm|tool_call>", "<ifm|tool_calls>"),
    call_ends=("</ifm|tool_call>", "</ifm|tool_calls>"),
    signs=(("ifm|think",),),
    tokens=("<ifm|think>", "</ifm|think>"),
)
THINK_START = BlockFormat(
    name="think_start",
    summary="<|think:start|> … <|think:end|>",
    openers=("<|think:start|>",),
    closers=("<|think:end|>",),
    noise=("<|think:end|>",),
    signs=(("<|think:start|>",), ("<|think:end|>",)),
    tokens=("<|think:start|>", "<|think:end|>"),
)
MISTRAL = BlockFormat(
    name="mistral",
    summary="Magistral and Ministral: [THINK] … [/THINK]",
    openers=("[THINK]",),
    closers=("[/THINK]",),
    calls=("[TOOL_CALLS]",),
    signs=(("[THINK]",), ("[/THINK]",)),
    tokens=("[THINK]", "[/THINK]"),
)
KIMI_TEXT = BlockFormat(
    name="kimi_text",
    summary="Kimi-VL-Thinking and Kimi-Dev: ◁think▷ … ◁/think▷",
    openers=("◁think▷",),
    closers=("◁/think▷",),
    calls=("<|tool_calls_section_begin|>",),
    call_ends=("<|tool_calls_section_end|>",),
    signs=(("◁think▷",), ("◁/think▷",)),
    # The markers are ordinary text to its tokenizer, so there is no vocabulary to read them off.
    architectures=("kimi_vl",),
)
_MUSE_MESSAGE = "<|start|>assistant"
_MUSE_ANSWER = (f"{_MUSE_MESSAGE}<|message|>", f"{_MUSE_MESSAGE} to=user<|message|>")
MUSE_GLIMMER = BlockFormat(
    name="muse_glimmer",
    summary="Muse Glimmer: a message to=self … <|eom|>, the answer in one to=user",
    openers=("to=self<|message|>", f"{_MUSE_MESSAGE} to=self<|message|>"),
    closers=("<|eom|>",),
    frame=("<|message|>", "to=user<|message|>", *_MUSE_ANSWER),
    frame_end=("<|eot|>", "<|eom|>"),
    opening="<|start|>assistant to=user<|message|>",
    direct=" to=user<|message|>",
    ends=_MUSE_ANSWER,
    noise=(*_MUSE_ANSWER, "<|eot|>", "<|eom|>"),
    signs=(("to=self<|message|>", "<|eom|>"),),
    tokens=("<|start|>", "<|message|>", "<|eom|>"),
)
_SOLAR_MESSAGE = "<|begin|>assistant"
_SOLAR_FRAME = ("<|content|>", f"{_SOLAR_MESSAGE}<|content|>")
SOLAR = BlockFormat(
    name="solar",
    summary="Solar Open: a message <|think|> … <|end|>, the answer in one with <|content|>",
    openers=("<|think|>", f"{_SOLAR_MESSAGE}<|think|>"),
    closers=("<|end|>",),
    frame=_SOLAR_FRAME,
    opening="<|begin|>assistant<|content|>",
    direct="<|content|>",
    frame_end=("<|end|>",),
    ends=_SOLAR_FRAME,
    calls=("<|tool_calls|>", f"{_SOLAR_MESSAGE}<|tool_calls|>"),
    noise=(_SOLAR_MESSAGE, *_SOLAR_FRAME, "<|end|>"),
    signs=(("<|begin|>assistant", "<|think|>", "<|content|>"),),
    tokens=("<|begin|>", "<|think|>", "<|content|>", "<|end|>"),
)
APRIEL = BlockFormat(
    name="apriel",
    summary="Apriel Thinker: its reasoning steps, then [BEGIN FINAL RESPONSE]",
    openers=("Here are my reasoning steps:",),
    closers=("[BEGIN FINAL RESPONSE]",),
    frame_end=("[END FINAL RESPONSE]",),
    calls=("<tool_calls>",),
    call_ends=("</tool_calls>",),
    sentences=True,
    signs=(("[BEGIN FINAL RESPONSE]",), ("Here are my reasoning steps:",)),
    tokens=("[BEGIN FINAL RESPONSE]",),
)
GRANITE_TEXT = BlockFormat(
    name="granite_text",
    summary="Granite 3.2: “Here is my thought process:” … “Here is my response:”",
    openers=("Here is my thought process:", "Here's my thought process:", "Here’s my thought process:"),
    closers=("Here is my response:", "Here's my response:", "Here’s my response:"),
    sentences=True,
    signs=(("Here is my thought process",), ("Here's my thought process",)),
)
EXAONE_DEEP = BlockFormat(
    name="exaone_deep",
    summary="EXAONE Deep: <thought> … </thought>",
    openers=("<thought>",),
    closers=("</thought>",),
    signs=(("<thought>",), ("</thought>",)),
    tokens=("<thought>", "</thought>"),
)
HUNYUAN = BlockFormat(
    name="hunyuan",
    summary="Hunyuan: <think> … </think>, then <answer> … </answer>",
    openers=("<think>", "<think:opensource>"),
    closers=("</think>", "</think:opensource>"),
    frame=("<answer>", "<answer:opensource>"),
    frame_end=("</answer>", "</answer:opensource>"),
    opening="<answer>\n",
    calls=("<tool_calls>", "<tool_calls:opensource>"),
    call_ends=("</tool_calls>", "</tool_calls:opensource>"),
    # The second writes its tags with a suffix from a variable of the template.
    signs=(("think>", "<answer>"), ("<think{}>",), ("think:opensource",)),
    tokens=("<think:opensource>", "</think:opensource>"),
)
_RESPONSE = ("<response>",)
_RESPONSE_END = ("</response>",)
GRANITE = BlockFormat(
    name="granite",
    summary="Granite 3.3: <think> … </think>, then <response> … </response>",
    openers=("<think>",),
    closers=("</think>",),
    frame=_RESPONSE,
    opening="<response>",
    frame_end=_RESPONSE_END,
    calls=("<|tool_call|>", *_TOOL_CALLS),
    call_ends=_TOOL_CALL_ENDS,
    signs=(("<|start_of_role|>", "think>", "<response>"),),
)
ERNIE = BlockFormat(
    name="ernie",
    summary="ERNIE 4.5 Thinking: <think> … </think>, then <response> … </response>",
    openers=("<think>",),
    closers=("</think>",),
    frame=_RESPONSE,
    opening="<response>\n",
    frame_end=_RESPONSE_END,
    calls=_TOOL_CALLS,
    call_ends=_TOOL_CALL_ENDS,
    # MiniMax-M2 writes <response>, without the new line, around a tool's answer.
    signs=(("think>", "<response>\\n"), ("think>", "<response>\n")),
    tokens=("<think>", "</think>", "<response>", "</response>"),
)
THINK = BlockFormat(
    name="think",
    summary="<think> … </think>: Qwen, DeepSeek, GLM, SmolLM3, Nemotron, MiniMax-M2, EXAONE 4 and many others",
    openers=("<think>",),
    closers=("</think>",),
    calls=_TOOL_CALLS,
    call_ends=_TOOL_CALL_ENDS,
    signs=(("<think>",), ("</think>",)),
    tokens=("<think>", "</think>"),
)
# Nothing in a model's files tells that its converted template lost the opening tag, so this one is never chosen by
# itself: `--reasoning-format think_assume_open` does it.
THINK_ASSUME_OPEN = BlockFormat(
    name="think_assume_open",
    summary="<think> as opened though the prompt does not show it (an R1 whose template lost the tag)",
    openers=("<think>",),
    closers=("</think>",),
    calls=_TOOL_CALLS,
    call_ends=_TOOL_CALL_ENDS,
    assume_open=True,
)

# The order decides between rows that all fit a template, so the more particular stand before the more common.
BLOCK_FORMATS: tuple[BlockFormat, ...] = (
    GEMMA4,
    KIMI_K3,
    COHERE,
    APERTUS,
    SEED,
    MINIMAX_M3,
    LONGCAT,
    K2_HORIZON,
    THINK_START,
    MUSE_GLIMMER,
    SOLAR,
    MISTRAL,
    KIMI_TEXT,
    APRIEL,
    GRANITE_TEXT,
    EXAONE_DEEP,
    HUNYUAN,
    GRANITE,
    ERNIE,
    THINK,
    THINK_ASSUME_OPEN,
)
