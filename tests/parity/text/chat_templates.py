"""Chat templates with every construct that the published Llama templates use, written for these tests."""

from chat_expressions import EXPRESSIONS
from chat_python import FILTERS, FORMATTING, METHODS, SYNTAX

# Llama 2: the system message folded into the first turn, roles that must alternate, BOS and EOS around every exchange.
FOLDED_SYSTEM = """\
{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set system = messages[0]['content'] %}\
{% else %}{% set turns = messages %}{% set system = false %}{% endif %}\
{% for message in turns %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles must alternate: user, assistant, user, assistant, ...') }}{% endif %}\
{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""

# Llama 3: one header for every role, the BOS before the first.
HEADERS = """\
{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

# Llama 3.1 to 3.3: dates, tools in the system or in the first user message, tool calls, white-space control throughout.
TOOLS = """\
{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message comes first, if there is one. #}
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
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You can call these functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Answer with a call of one of these functions, " }}
    {{- 'as {"name": name, "parameters": values}.' }}
    {{- "\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one tool call at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
            {%- endfor %}
            {{- ")" }}
        {%- else %}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# TinyLlama and Zephyr: a multi-line template that needs trim_blocks.
ZEPHYR = """\
{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

# SmolLM: ChatML with a default system message.
CHATML = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful lighthouse keeper.<|im_end|>\\n' }}{% endif %}\
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# Mistral: a namespace that counts, the last user message found by index, filters over the messages.
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0, last="") %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results") %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
        {%- set ns.last = message.role %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if message == user_messages[-1] and system_message is defined %}
            {{- "[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" ~ message["content"] ~ "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] | trim ~ eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, not " ~ message.role) }}
    {%- endif %}
{%- endfor %}
"""

# Python's methods, slices, filters and printing.
PYTHON = """\
{%- macro show(name, value='-') -%}
{{ name }}={{ value }};
{% endmacro -%}
{%- set text = messages[0].content -%}
{{- show('strip', '[' ~ text.strip() ~ ']') }}
{{- show('lstrip', '[' + text.lstrip() + ']') }}
{{- show('rstrip', '[' + text.rstrip('.! \\n') + ']') }}
{{- show('trim', '[' ~ text | trim ~ ']') }}
{{- show('upper', text.upper()) }}{{ show('lower', text | lower) }}{{ show('title', 'hello big world'.title()) }}
{{- show('capitalize', 'hELLO'.capitalize()) }}
{{- show('split', text.split()) }}
{{- show('split2', 'a,b,,c'.split(',')) }}{{ show('split3', 'a,b,c,d'.split(',', 1)) }}{{ show('rsplit', 'a,b,c'.rsplit(',', 1)) }}
{{- show('lines', 'a\\nb\\r\\nc'.splitlines()) }}
{{- show('starts', text.strip().startswith('He')) }}{{ show('ends', text.endswith(('\\n', 'x'))) }}
{{- show('replace', text.replace('l', 'L')) }}{{ show('replace', text | replace('o', '0')) }}
{{- show('find', text.find('zzz')) }}{{ show('count', text.count('l')) }}
{{- show('partition', 'k: v'.partition(': ')) }}{{ show('prefix', 'abcabc'.removeprefix('abc')) }}
{{- show('in', 'ell' in text) }}{{ show('notin', 'zz' not in text) }}
{{- show('slice', text[1:4]) }}{{ show('negative', text[-3:]) }}{{ show('step', [1,2,3,4,5][::2]) }}{{ show('reverse', [1,2,3][::-1]) }}
{{- show('none', none) }}{{ show('true', true) }}{{ show('list', [1, 'a', none, true, 2.5]) }}{{ show('dict', {'a': 1, 'b': [false]}) }}
{{- show('quote', ["it's", 'say "x"', 'both \\' and "', 'new\\nline', 'tab\\t', 'é', '🙂']) }}
{{- show('float', 1.0) }}{{ show('float', 0.1 + 0.2) }}{{ show('int', 7 // 2) }}{{ show('div', 7 / 2) }}{{ show('mod', -7 % 3) }}{{ show('pow', 2 ** 10) }}
{{- show('join', ['a', 'b'] | join('-')) }}{{ show('join', [1, none, 'x'] | join(', ')) }}
{{- show('default', missing | default('d')) }}{{ show('default', '' | default('d', true)) }}{{ show('default', none | default('d')) }}
{{- show('first', messages | map(attribute='role') | first) }}{{ show('last', messages | map(attribute='role') | list | last) }}
{{- show('length', text | length) }}{{ show('count', messages | count) }}
{{- show('select', messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | length) }}
{{- show('reject', messages | rejectattr('role', 'eq', 'user') | list | length) }}
{{- show('sort', ['b', 'a', 'C'] | sort) }}{{ show('unique', [1, 2, 1] | unique | list) }}{{ show('rev', [1, 2] | reverse | list) }}
{{- show('int', '42' | int + 1) }}{{ show('string', 42 | string + '!') }}{{ show('abs', -3 | abs) }}{{ show('round', 2.567 | round(1)) }}
{{- show('ternary', 'yes' if text else 'no') }}{{ 'no' if not text }};
{{- show('concat', [1] + [2, 3]) }}{{ show('repeat', '=' * 5) }}{{ show('cmp', 1 < 2 and 'a' != 'b') }}
{{- show('indent', 'a\\nb' | indent(2)) }}{{ show('indent', 'a\\nb' | indent(2, true)) }}
{{- show('items', {'x': 1, 'y': 2}.items() | list) }}{{ show('keys', {'x': 1}.keys() | list) }}{{ show('get', {'x': 1}.get('z', 'none')) }}
{{- show('dictsort', {'b': 1, 'a': 2} | dictsort) }}
{%- for key, value in {'first': 1, 'second': 'two'}.items() %}{{ key }}:{{ value }}{{ ',' if not loop.last }}{% endfor %}
{{ 'a' 'b' }}|{{ "x" ~ 1 ~ none ~ true }}|{{ range(3) | list }}|{{ [1,2,3] | sum }}|{{ [3,1] | max }}
"""

TESTS = """\
{%- for value in [none, true, 1, 1.5, 'text', [1], {'a': 1}, missing] -%}
{{ value is none }},{{ value is defined }},{{ value is string }},{{ value is mapping }},{{ value is iterable }},\
{{ value is sequence }},{{ value is number }},{{ value is boolean }},{{ value is integer }},{{ value is float }},\
{{ value is undefined }},{{ value is true }},{{ value is false }},{{ value is callable }}
{% endfor %}
{{- 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 'a' is in ['a'] }} {{ 1 is sameas 1 }} {{ 'A' is upper }} {{ 'a' is lower }}
{{ messages[0].content is string and messages[0].content is not none }} {{ messages is sequence }} {{ 5 is gt 3 }} {{ 5 is ne 5 }}
{{ messages[0].tool_calls is defined }} {{ 'tool_calls' in messages[0] }} {{ messages[0].get('tool_calls') is none }}
"""

LOOPS = """\
{% for message in messages %}
    {% if message.role == 'system' %}{% continue %}{% endif %}
    {% if loop.index > 4 %}{% break %}{% endif %}
    {{ loop.index }}/{{ loop.length }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }}
    {{- loop.cycle(' odd', ' even') }} {{ loop.previtem.role if loop.previtem is defined else '-' }} {{ loop.nextitem.role if loop.nextitem is defined else '-' }}
{% endfor %}
{% for nothing in [] %}{% else %}empty{% endfor %}
{% for message in messages if message.role == 'user' %}
{{ loop.index0 }}: {{ message.content }}
{% endfor %}
{% set ns = namespace(found=false, items=[]) %}
{% for message in messages %}{% set outer = message.role %}{% set ns.found = ns.found or message.role == 'assistant' %}{% set ns.items = ns.items + [message.role] %}{% endfor %}
{{ outer is defined }} {{ ns.found }} {{ ns.items }}
{% for row in [[1, 2], [3, 4]] %}{% for cell in row %}{{ loop.index }}.{{ cell }} {% endfor %}{% endfor %}

{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}

{% for key in {'z': 1, 'a': 2} %}{{ key }}{% endfor %}
{% raw %}{{ not rendered }} {% endraw %}{# a comment #}
  {#- another -#}
end
"""

WHITESPACE = """\
   {% if true %}
  indented
    {%+ if true %} kept {%+ endif %}
   {% endif %}
a {%- if true %} b {% endif -%}   c
{{ '  spaced  ' }}   
{%- set block %}
  captured {{ messages | length }}
{% endset %}
[{{ block }}]
\t{% for i in [1] %}
\ttab
\t{% endfor %}
{{- '\\n' -}}
tail

"""

GENERATION = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- generation %}
{{- message.content + eos_token }}
{%- endgeneration %}
{% generation %}{% set scoped = 1 %}({{ message.role }}){% endgeneration %}

{%- else %}
{{- '<' + message.role + '>' + message.content }}
{%- endif %}
{%- endfor %}
{{ scoped is defined }}
"""

JSON = """\
{{ values | tojson }}
{{ values | tojson(indent=2) }}
{{ values | tojson(ensure_ascii=True) }}
{{ values | tojson(sort_keys=true, separators=(',', ':')) }}
{{ messages | tojson }}
{{ [] | tojson(indent=4) }} {{ {} | tojson(indent=4) }} {{ none | tojson }} {{ 'x' | tojson }}
{% for name, schema in values.nested.items() %}{{ name }}={{ schema }} {% endfor %}
{{ values.nested }} {{ values.flags }} {{ values.numbers[:4] }}
{{ strftime_now('%Y-%m-%d %B %A %j') }}
"""

CALLS = """\
{%- macro render(tool, depth=0) -%}
{%- set pad = '  ' * depth -%}
{%- if tool is mapping -%}
{%- for key, value in tool.items() -%}
{{ pad }}{{ key }}:
{{ render(value, depth + 1) }}
{%- endfor -%}
{%- elif tool is iterable and tool is not string -%}
{%- for value in tool -%}
{{ pad }}- {{ value }}
{% endfor -%}
{%- else -%}
{{ pad }}{{ tool }}
{% endif -%}
{%- endmacro -%}
{{- render(values.nested) }}
{%- macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}
{% call wrap('b') %}inside {{ messages[0].role }}{% endcall %}
{%- filter upper %} shout {% endfilter %}
{%- with x = 1, y = 2 %}{{ x + y }}{% endwith %}
"""

TEMPLATES = {
    "folded_system": FOLDED_SYSTEM,
    "headers": HEADERS,
    "tools": TOOLS,
    "zephyr": ZEPHYR,
    "chatml": CHATML,
    "mistral": MISTRAL,
    "python": PYTHON,
    "tests": TESTS,
    "loops": LOOPS,
    "whitespace": WHITESPACE,
    "generation": GENERATION,
    "json": JSON,
    "calls": CALLS,
    "expressions": EXPRESSIONS,
    "formatting": FORMATTING,
    "filters": FILTERS,
    "methods": METHODS,
    "syntax": SYNTAX,
    "carriage_returns": "{% if true %}\r\na\r\n{% endif %}\r\n{{ 'x' }}\r\nb\rc\r\n",
    "refuses": "{{ raise_exception('No ' ~ messages[0].role ~ ' today: \"' ~ messages[0].content ~ '\"') }}",
    "undefined": "[{{ missing }}][{{ messages[0].missing }}][{{ missing | length }}][{% for x in missing %}{% endfor %}]",
    "undefined_attribute": "{{ missing.attribute }}",
    "wrong_types": "{{ 'a' + 1 }}",
}
