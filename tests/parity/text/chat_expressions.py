"""One template with what templates in the wild do somewhere, an expression or statement on every line."""

EXPRESSIONS = r"""
{{ 1 < 2 < 3 }}
{{ "%s" | format("x") }}
{{ "{} {x}".format(1, x=2) }}
{{ "{:>5}|{:.2f}".format("a", 1.234) }}
{{ messages[0]['content'][0] }}
{{ messages[-1].role }}
{{ messages[0].content.split('|')[0] }}
{{ (messages | last).role }}
{{ messages[0].content if messages[0].content is string else messages[0].content | map(attribute='text') | join }}
{{ "abc" in ["abc"] }} {{ "a" in {"a":1} }} {{ 1 in (1,2) }}
{{ not messages }} {{ not [] }} {{ not '' }} {{ not {} }} {{ not 0 }}
{{ none or 'x' }} {{ '' and 'y' }} {{ 0 or none }} {{ [] or 'z' }}
{{ "a" if false }}|
{{ "é" | upper }} {{ "ß" | upper }} {{ "İ" | lower | length }}
{{ "hello world" | capitalize }} {{ "hello wORLD it's" | title }} {{ "hello-world foo_bar" | title }}
{{ "a b c" | replace(" ", "-", 1) }}
{{ [3,1,2] | sort(reverse=true) }} {{ ['b','A'] | sort(case_sensitive=true) }}
{{ [{'n':2},{'n':1}] | sort(attribute='n') | map(attribute='n') | list }}
{{ {'a':1,'b':2} | items | list }} {{ {'b':1,'a':2} | dictsort(by='value') }}
{{ [1,2,3,4,5] | batch(2) | list }} {{ [1,2,3] | slice(2) | list }}
{{ "abc" | list }} {{ "abc" | reverse }} {{ "abc" | first }} {{ "abc" | last }}
{{ [1,2,3] | join }} {{ [{'a':1}] | join(',', attribute='a') }}
{{ 3.0 }} {{ 3.7 | int }} {{ "3.7" | float }} {{ "abc" | int }} {{ "abc" | int(5) }} {{ "0x1f" | int(0,16) }}
{{ 10 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ 2 ** -1 }}
{{ 1e3 }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }}
{{ 'a\x41\u00e9\\ \' "' }} {{ "tab\tnl\\n" }} {{ '\q \. \d' }}
{{ [1,2,3][1:] }} {{ [1,2,3][:-1] }} {{ "abcdef"[::2] }} {{ "abc"[::-1] }} {{ "abc"[5:] }}|{{ [1,2][10:] }}
{{ namespace(a=1).a }} {% set ns = namespace() %}{% set ns.x = [1] %}{{ ns.x }}
{{ dict(a=1, b='x') }} {{ dict({'k': 1}, z=2) }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set x = {'k': 'v'} %}{{ x.k }}{{ x['k'] }}{{ x.get('k') }}{{ x.get('n') }}{{ x.missing is defined }}
{% for k in {'a':1}.keys() %}{{ k }}{% endfor %}{% for v in {'a':1}.values() %}{{ v }}{% endfor %}
{% for i in range(1, 10, 3) %}{{ i }}{{ "," if not loop.last else "." }}{% endfor %}
{% for c in "héy" %}{{ c }}.{% endfor %}
{% for m in messages | reverse %}{{ m.role[0] }}{% endfor %}{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}
{% for g in [{'k':1,'v':2},{'k':1,'v':3},{'k':2,'v':4}] | groupby('k') %}{{ g.grouper }}:{{ g.list | map(attribute='v') | list }} {% endfor %}
{% for x in [1,[2,[3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}
{% macro f(a, b=2, c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(*[1,2]) }}{{ f(**{'a': 9}) }}
{% macro f(x) %}  {{- x -}}  {% endmacro %}[{{ f('y') }}]{{ f('a') | trim | length }}{{ f('q') ~ 'z' }}{{ f('q') + 'z' }}
{% set content %}a{{ 1 }}b{% endset %}{{ content | upper }}{{ content + "x" }}{{ content is string }}
{% if 1 is defined and not (2 == 3) or false %}y{% endif %}
{% if x is not defined or x %}y{% endif %}
{{ 'a' ~ 1 ~ 2.0 ~ none ~ true ~ [1] ~ {'a': none} }}
{{ "a" * 3 }} {{ [0] * 3 }} {{ "a" + "b" * 2 }} {{ 3 * "ab" }}
{{ messages | map('length') | list }} {{ ["a","b"] | map('upper') | join }}
{{ [1,none,2] | select | list }} {{ [1,2,3] | select('odd') | list }} {{ [1,2,3,4] | reject('even') | list }} {{ [1,5] | select('greaterthan', 2) | list }}
{{ messages | selectattr('content') | list | length }} {{ messages | selectattr('x','defined') | list | length }} {{ messages | selectattr('role','in',['user','x']) | list | length }}
{{ [1,2,3] | sum }} {{ [{'a':1}] | sum(attribute='a') }} {{ [1,2] | min }} {{ ['a','b'] | max }}
{{ "<b>&'\"" | e }} {{ "<b>" | escape }} {{ "<b>" | safe }}
{{ 1234567.891 | round(2) }} {{ 2.5 | round }} {{ 3.14159 | round(2, 'floor') }} {{ 42 | round }}
{{ true + 1 }} {{ true == 1 }} {{ 1 == 1.0 }} {{ "1" == 1 }} {{ none == false }}
{{ [1,2] == [1,2] }} {{ {'a':1} == {'a':1} }} {{ (1,2) }} {{ (1,) }} {{ () }}
{{ True }} {{ False }} {{ None }} {{ true }}
{{ "ab".join(["1","2"]) }} {{ "x".center(5) }}| {{ "a-b".replace("-", "") }} {{ "Ab".swapcase() }} {{ "abc".index("c") }}
{{ "a,b".split(",") | last }} {{ " a b ".split() }} {{ "a b c".split(" ", 1) }} {{ "a b c".split(maxsplit=1) }} {{ "abc".split("b")[-1] }}
{{ "abc".startswith(("a","b")) }} {{ "abc".endswith("c") }} {{ "x1".isalnum() }} {{ "12".isdigit() }} {{ "ab".isalpha() }} {{ "A".isupper() }}
{{ "{{ x }}" }} {% raw %}{{ y }}{% endraw %} {{ '{%' }} {{ '#}' }}
{# c #}{{ 1 }}{#- d -#} {{ 2 -}}   x
{{ messages[0] }}
{{ messages | tojson }} {{ messages | list | tojson(indent=1) }}
{{ {'a': (1,2), 1: 'x', none: 2, true: 3} | tojson }}
{{ "é\u2028</script>" | tojson }}
{{ undefined_thing ~ "x" }} {{ undefined_thing == none }} {{ undefined_thing in ['a'] }} {{ 'a' in undefined_thing }}
{{ [1,2,3].index(2) }}
{{ [1,2,2].count(2) }}
{{ {'a':{'b':1}}.a.b }} {{ {'items': 3}['items'] }} {{ {'items': 3}.items() | list }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{% endfor %}{{ x }}
{% with a = 1 %}{% set b = a %}{% endwith %}{{ b is defined }}
{% filter trim %}  x  {% endfilter %}|{% filter replace('a','b') %}aa{% endfilter %}
{% for i in [1,2,3] if i != 2 %}{{ loop.index }}{{ i }}{{ loop.length }}{% endfor %}
{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{{ loop.changed(i) }}{% endfor %}
{%- if messages[0]["role"] == "user" -%} A {%- else -%} B {%- endif -%}
{{ messages|length > 0 and messages[0].role == 'user' }} {{ messages | length * 2 }} {{ -1 | abs }}
{{ 'x' if messages[0].role == 'user' else 'y' ~ 'z' }} {{ ('a' 'b') | upper }}
{{ [1, 2,] }} {{ {'a': 1,} }} {{ [[1], [2]] | map('first') | list }}
{{ "a" < "b" }} {{ [1,2] < [1,3] }} {{ "a" not in "abc" }} {{ not 1 == 2 }}
{{ messages | unique(attribute='role') | list | length }} {{ 'a' | string | length }} {{ 1 | string + 'a' }} {{ [1]|string }}
{{ none | upper }} {{ 5 | upper }} {{ [1] | upper }} {{ true | lower }}
{{ "Default=" ~ 1e-5 }} {{ 2 * 1e-5 ~ "x" ~ -1e-5 }} {{ "1" + 2 ~ 3 == "123" }} {{ 3e-5 - 1e-5 ~ "" if false }}{{ 1.5e-7 ~ 2E+20 }} {{ ("a" ~ 1e-5)|upper ~ [1e-5] ~ {"k": 1e16} ~ (1e-5, 2) }} {{ "a" ~ (1e-5 if true else 2) ~ none }}
{{ [1e-5, [1e16]] | join(", ") }} {{ [{'a': 1e-5}] | join(attribute='a') }} {{ "abc" | join("-") }} {{ [1, 2] | join(d=1e-5) }} {{ 1e-5 | trim }} {{ 1e-5 | upper }} {{ 1e-5 | replace("e", "E") }} {{ [1e-5] | center(12) }}
{{ "%s" % [1e-5] }} {{ "%s|%8s" % (1e-5, 1e16) }} {{ "{} {!s}".format([1e-5], 1e-5) }} {{ [1] + [1e-5] }} {{ [1, 1e-5][::-1] }} {{ [1e-5] * 2 }} {{ ([1] + [1e-5]) ~ "" }}
{% set d = "=" ~ 1e-5 %}{{ d }}{% if 1e-5 ~ "" == "1e-05" %}y{% endif %}{% for c in 1e16 ~ "" %}{{ c }}.{% endfor %}{{ [1 ~ 2, {"k": 3 ~ 1e-5}] }}{{ dict(a=1e-5 ~ 1) }}{{ "%s" % 1e-5 ~ 1e-5 }}{{ 1e-5 ~ "%s" % 1e-5 }}{{ "a" ~ 1 is string }}{{ "b" ~ 1 is not none ~ 2 }}{{ "a"~-1~'b' 'c' }}
{{ messages[1:] is sequence }}{{ messages[::-1] is sequence }}{{ (messages + messages) is sequence }}{{ ([1, 2] * 2) is sequence }}{{ range(3) is sequence }}{{ ([1] + [2]).index(2) }}
{{ 1e20 | int }} {{ "1e20" | int }} {{ "12345678901234567890" | int }} {{ "<a>" | forceescape }} {{ "<a>" | e | e }} {{ "<a>" | e | forceescape }} {{ "<a>" | safe | e }} {% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}
"""
