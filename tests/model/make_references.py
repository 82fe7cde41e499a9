#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/model/spm.jsonl and chat.jsonl: what the sentencepiece library (0.2.3) makes of small
vocabularies trained on this project's own documents, and what jinja2 (3.1.6, with the settings of transformers'
apply_chat_template) makes of chat templates written here in the manner of those in use.

Run by hand when a case is added: pip install sentencepiece protobuf jinja2, then tests/model/make_references.py.
"""
import glob
import io
import json
import os
import random

import jinja2
import jinja2.ext
import jinja2.sandbox
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "tests", "data", "model")

# ---- SentencePiece ----

ODD = ["\u00a0", "\u2581", "\u2581\u2581", "\t", "\n", "\r\n", " ", "  ", "        ", "é", "e\u0301", "日本", "🙂",
       "👩\u200d👧", "\ufeff", "\U0010ffff", "\x00", "ß", "Ω", "<s>", "</s>", "<unk>", "<0x41>", "<sep>", "<user>x",
       "aaaa", "ababab", "thethethe", "0123", "½", "한국"]


def corpus():
    names = sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))) + [os.path.join(ROOT, "README.md")]
    return "\n".join(open(name, encoding="utf8").read() for name in names)


def texts(words, count):
    source = random.Random(11)
    yield from ["", " ", "  ", "a", " a", "a ", "Hello world", " Hello", "The device\nprefills.\n\n  Then\tit decodes."]
    for _ in range(count):
        text = ""
        for _ in range(source.randint(1, 7)):
            if source.random() < 0.6:
                text += source.choice(words) + source.choice(["", " ", " ", "  "])
            else:
                text += source.choice(ODD)
        yield text


def train(text, **options):
    model = io.BytesIO()
    settings = dict(model_type="bpe", vocab_size=420, normalization_rule_name="identity", byte_fallback=True,
                    remove_extra_whitespaces=False, minloglevel=2)
    settings.update(options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text.split("\n")), model_writer=model, **settings)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def unused(proto, part):
    source = random.Random(5)
    for piece in proto.pieces:
        if piece.type == 1 and len(piece.piece) > 1 and source.random() < part:
            piece.type = 5
    return proto


def tied(proto):
    source = random.Random(6)
    for piece in proto.pieces:
        if piece.type == 1:
            piece.score = float(source.randint(-4, 0))
    return proto


def vocabularies():
    text = corpus()
    across = dict(split_by_whitespace=False, split_by_unicode_script=False, split_by_number=False)
    user = ["<sep>", "<user>", "<user>x", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "\n\n", "th"]
    yield "prefix and bytes", train(text)
    yield "no bytes", train(text, byte_fallback=False, character_coverage=0.98, vocab_size=220)
    yield "no prefix, user-defined", train(text, add_dummy_prefix=False, user_defined_symbols=user)
    yield "prefix, user-defined spaces", train(text, user_defined_symbols=["\u2581\u2581", "\u2581\u2581\u2581"])
    yield "unused and tied, across words", tied(unused(train(text, **across), 0.3))


def write_spm():
    words = corpus().split()
    with open(os.path.join(DATA, "spm.jsonl"), "w", encoding="utf8") as out:
        for name, proto in vocabularies():
            processor = sentencepiece.SentencePieceProcessor()
            processor.LoadFromSerializedProto(proto.SerializeToString())
            pieces = [[piece.piece, round(piece.score, 4), piece.type] for piece in proto.pieces]
            cases = [[text, processor.EncodeAsIds(text)] for text in texts(words, 60)]
            line = {"name": name, "prefix": proto.normalizer_spec.add_dummy_prefix, "pieces": pieces, "cases": cases}
            out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


# ---- chat templates ----

SMOLLM2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(looking=true, last_question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.looking and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.looking = false %}
        {%- set ns.last_question = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_question and (loop.last or thoughts) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>

'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% endif %}"""

LLAMA31 = """{{- bos_token }}
{%- if not date_string is defined %}
%DATE%
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message goes into its own place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("no tools here") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
FIXED_DATE = '    {%- set date_string = "26 Jul 2024" %}'
OWN_DATE = """    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}"""

MISTRAL1 = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""

MISTRAL3 = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Roles take turns, tools aside. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined and message == user_messages[-1] %}
            {{- "[INST]%GAP%" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]%GAP%" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- "%GAP%" + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

MISTRAL7 = """{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default_system_message = "You are small. \\
The current date is " + today + "." %}

{{- bos_token }}

{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = default_system_message %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}

{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'system' %}
        {{- '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""

GEMMA2 = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}"""

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {{ item['text'] | trim }}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""

# The language itself: what the templates above do not touch.
BLANKS = """<|im_start|>
   {% if true %}  a
   {% endif %}
 {{ 1 }}
  {{- 2 -}}
  b  {#- c -#}  d
{% if false %}x{% endif +%}
   {%+ if true %} e {% endif %}
\t{# f #}
  g {% set x = 1 %}
h\r\n{{ 'i\r\nj' }}
\u2003{%- if true -%}\u2003 k \u2003{%- endif %}

"""
VALUES = r"""<|im_start|>
{{ 'a\tb\x41\u00e9\101\q\'' ~ "c" 'd' }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 - 3 * 4 + 1 }} {{ 1_000 }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'b' > 'a' }} {{ not 1 == 2 }} {{ none }} {{ true and 'x' or 'y' }} {{ '' or 'z' }}
{{ 'abc'[1] }} {{ 'aébc'[-3:] }} {{ 'abcdef'[::2] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][1:] | length }} {{ 'é日' | length }}
{{ 'x' if false }} {{ 'x' if false else 'y' }} {{ {'a': 1, 'b': {'c': 'd'}}.b.c }} {{ {'a': 1}.get('z', 'none') }}
{{ 1 in [1, 2] }} {{ 'b' in 'abc' }} {{ 'k' not in {'k': 1} }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ x is defined }}
{{ ['a', 'b'] | join('-') }} {{ 'a-b-c'.split('-') | last }} {{ 'a-b-c'.split('-', 1) | last }} {{ ' a  b '.split() | join('+') }}
{{ 'aXbX'.replace('X', '') }} {{ 'abc' | upper }} {{ 'aBC dEF' | title }} {{ 'aBC'.capitalize() }} {{ 'xxaxx'.strip('x') }}
{{ {'a': [1, true, none, 'q"\n']} | tojson }} {{ 'é"' | tojson }} {{ missing | default('d') }} {{ '' | default('e', true) }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('b', 'c')) }} {{ 'abcabc'.find('ca') }} {{ [3, 4] | first }} {{ [] | first }}
{{ range(3) | list | length }}{% for i in range(5, 0, -2) %} {{ i }}{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ';' if not loop.last }}{% endfor %}
{% for i in [1, 2, 3, 4, 5] if i % 2 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}never{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}
{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% macro greet(name, mark='!') %}Hi {{ name }}{{ mark }}{% endmacro %}{{ greet('you') }} {{ greet('me', mark='?') }}
{% set block %} a {{ 1 + 1 }} b {% endset %}[{{ block }}]{{ block | trim }}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{{ messages | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | map('trim') | join('|') }}
{% generation %}answer{% endgeneration %}"""

TALKS = [
    [["user", "hi"]],
    [["system", "Be brief."], ["user", "hi"]],
    [["user", "  hi \n"], ["assistant", " hello\n"], ["user", "bye\n"]],
    [["system", " Be brief. \n"], ["user", "hi"], ["assistant", "x"], ["user", "y"], ["assistant", "z"], ["user", "?"]],
    [["user", "hi"], ["assistant", "<think>\nhm\n</think>\n\nok"], ["user", "more"]],
    [["user", "hi"], ["assistant", "<think>a</think>b"]],
    [["user", "a"], ["user", "b"]],
    [["user", "hi"], ["system", "late"], ["user", "x"]],
    [["user", "é\u00a0 日本 \u3000🙂 "], ["assistant", "\u2003ok\u2003"], ["user", "<|im_end|>{{ 1 }}"]],
    [["user", "<tool_response>x</tool_response>"]],
]


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def refuse(words):
    raise jinja2.TemplateError(words)


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    made.globals["raise_exception"] = refuse
    return made


def render(template, talk):
    messages = [{"role": role, "content": content} for role, content in talk]
    try:
        text = environment().from_string(template).render(messages=messages, tools=None, documents=None,
                                                          add_generation_prompt=True, bos_token="<s>",
                                                          eos_token="</s>")
        return {"messages": talk, "text": text}
    except jinja2.TemplateError as error:
        return {"messages": talk, "error": str(error)}


def write_chat():
    templates = {
        "SmolLM2": SMOLLM2, "Qwen2.5": QWEN25, "Qwen3": QWEN3, "Llama-3": LLAMA3,
        "Llama-3.1": LLAMA31.replace("%DATE%", FIXED_DATE), "Llama-3.2": LLAMA31.replace("%DATE%", OWN_DATE),
        "Mistral v1": MISTRAL1, "Mistral v3": MISTRAL3.replace("%GAP%", " "),
        "Mistral v3 tekken": MISTRAL3.replace("%GAP%", ""), "Mistral v7": MISTRAL7, "Gemma 2": GEMMA2,
        "Gemma 3": GEMMA3, "blanks": BLANKS, "values": VALUES,
    }
    with open(os.path.join(DATA, "chat.jsonl"), "w", encoding="utf8") as out:
        for name, template in templates.items():
            cases = [render(template, talk) for talk in TALKS]
            if name == "Mistral v7":  # no date is looked up for a text that does not need one
                dateless = template.replace('strftime_now("%Y-%m-%d")', '"?"')
                cases = [render(dateless, talk) for talk in TALKS if talk[0][0] == "system"]
            line = {"name": name, "template": template, "cases": cases}
            out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    write_spm()
    write_chat()
