"""Templates of what Jinja and Python's strings do beyond the common: arguments by name, formatting, methods, syntax."""

FORMATTING = r"""
{{ '%s' % ('%d' % 3) }}{{ '%s%%' % 5 }}{{ 'a %s' 'b %s' % (1, 2) }}{{ ('x%s' ~ '%d') % ('q', 4) }}
{{ '%s %%d' % 'a' % 3 }}{{ '%s'%'%s'%'a' }}{{ '%s%%s'%messages|length%'b' }}{{ '%s' % messages[0].items == '' }}{{ '%s' '%%s' % 'b' % -1 }}
{{ 'abc' % [3] }}
{{ '%05.2f|%-6s|%6s|%+d|%x' % (3.14159, 'ab', 'cd', 5, 255) }}
{{ '%s|%s|%s|%s' % (none, true, 1.0, [1, 'a']) }}
{{ '%(role)s: %(content)s' % messages[0] }}
{{ '%s' % messages[0].role|upper }}
{{ '%s' % messages[0]['role'] ~ 'x' }}
{{ '%s' % -1 }}{{ '%s' % 'a' if true else 'b' }}{{ '%s' % 'a' == 'a' }}{{ '%s' % (1) }}
{{ '%s' % messages|length + 'x' }}
{% set f = '<%s|%s>' %}{{ f % (1, 2) }}{{ f % ('a', messages|length) }}
{% set f = '<%(a)s>' %}{{ f % {'a': 2} }}
{% for m in messages %}{{ loop.index0 % 2 == 0 }}{{ (loop.index0 + 1) % 2 }}{{ ('5'|int) % 3 }}{{ ('5'|int) % -3 }}{{ (('7.5'|float)) % 2 }}{% endfor %}
{% if '%s' % 'a' == 'a' %}y{% endif %}{% set x = '%s' % 4 %}{{ x }}{% for x in '%s' % 'ab' %}{{ x }}.{% endfor %}
{{ '{!r} {!s:>4}|{}'.format('q', 'a', 'b') }}{{ '{{x}} {0!r:>5} {a!r} {1}'.format('q', 2, a=['b']) }}{{ '{:>5}|{:05d}|{:.2f}|{!r}'.format('a',3,1.234,'q') }}{{ '{} {}'.format(1, 2) }}{{ '{{}}'.format() }}{{ '{a[b]} {!r}'.format(1, a={'b': 2}) }}
{{ '' % () }}{{ '%s' % {} }}{{ '%s' % [1, 2] }}{{ '%s-%s' % ('a', '%s') }}{{ '%c' % 'x' }}{{ '%i' % 4 }}{{ '%d' % 3.7 }}{{ '%e' % 12345.678 }}
{{ '{:>5}|{:^5}|{:5}|{:*<4}|{:.2}|{:6.1}'.format('é', 'éa', 'ü', 'ñ', 'éàü', 'éa') }}
{{ '{:>5}|{:^5}|{:5}|{:*<4}|{:.2}'.format('e', 'ea', 'u', 'n', 'eau') }}
{{ '%5s|%-5s|%.1s' % ('é', 'é', 'éa') }}
{{ '%5s|%-5s|'|format('é', 'é') }}
{{ '{:>8}|{:>8}'.format(none|string, [1]|string) }}
{{ '{:é>5}'.format('a') }}
{{ '%r %r|%8r' % ('a', ['é'], 'é') }}{{ '%d|%i|%05d|%u' % (3.7, -3.7, 4.2, 5) }}
{{ '%(a)5s|%(a)-5s|%(b)d' % {'a': 'é', 'b': 3} }}
{{ '%s %s'|format('a', 'b') }}{{ '%(x)s'|format(x='é') }}{{ '%(é)s' % {'é': 1} }}{{ '%%'|format() }}{{ '%5s%%|%s'|format('é', none) }}
{{ '%s' % ((1, 2),) }}{{ '%s' % ('é',) }}{{ '%.3s|%5.2s|' % ('éàü', 'éàü') }}{{ '%05d|%+.2f|% d|%#x' % (3, 2.5, 4, 255) }}
{{ '{:05d}|{:,}|{:+.1f}|{:x}'.format(3, 1234567, 2.55, 255) }}{{ '{0:>6}{0:<6}|{a:^7}|'.format('éé', a='ü') }}{{ '{:1<5}|{:05}'.format('é', 7) }}
{{ '{:>6.2}|{!r:>6}|{!s:<4}|'.format('éàü', 'é', 'é') }}{{ '{'~'}' }}{{ '{{{}}}'.format('é') }}
{{ '%ld|%5hd' % (3, 4) }}
"""

FILTERS = r"""
{{ x|default('d', boolean=true) }}{{ ''|default('d', boolean=true) }}{{ ''|default(default_value='q', boolean=True) }}{{ x|default(default_value=none) }}{{ ''|d('e', true) }}{{ 0|default(3) }}{{ x|default }}
{{ 'x'|int(default=7) }}{{ '0x1f'|int(base=16) }}{{ '11'|int(default=1, base=2) }}{{ 'x'|float(default=2.5) }}{{ none|int(default=3) }}{{ true|int }}{{ false|int }}{{ true|float }}{{ [true, false]|map('int')|list }}{{ 3|int }}{{ 2.7|int }}
{{ 'a-b-c'|replace(old='-', new='+') }}{{ 'aaa'|replace('a', 'b', count=2) }}{{ 'aaa'|replace('a', new='c') }}{{ 'a1'|replace(1, 2) }}{{ 'ab'|replace('', '.') }}{{ 'ab'|replace('a', 'b', -1) }}{{ 'aab'|replace('a', 'b', none) }}
{{ 'hello world foo bar'|truncate(11) }}|{{ 'hello world'|truncate(5, true, '') }}|{{ 'hello world'|truncate(5, true, '', 0) }}|{{ 'hello world foo'|truncate(9, leeway=0) }}|{{ 'abc def'|truncate(length=3, killwords=true, end='', leeway=0) }}|{{ 'héllo wörld again and again'|truncate(10, False, '…') }}
{{ 'a\nb\n\nc'|indent('> ') }}|{{ 'a\n\nb'|indent(2, true, true) }}|{{ 'a\nb\n'|indent }}|{{ 'a\nb'|indent(first=true, width='--') }}|{{ ''|indent(2, true) }}|{{ 'a\n\nb'|indent(width=3, blank=true) }}
{{ [[1],[2,3]]|sum(start=[]) }}{{ [1,2]|sum(start=5) }}{{ [{'a': 2}]|sum(attribute='a', start=1) }}
{{ true|abs }}{{ -3|abs }}{{ -2.5|abs }}{{ false|abs }}
{{ 'a b&c=d/é~'|urlencode }}{{ {'a b': 'c/d', 'x': 1}|urlencode }}{{ [('a', 'b c')]|urlencode }}{{ 5|urlencode }}
{{ [1.26, 2.34]|map('round', precision=1)|list }}{{ ['x', '3']|map('int', default=9)|list }}{{ messages|map(attribute='x', default='y')|list }}{{ ['ab']|map('replace', 'a', 'b')|list }}{{ ['a', none, '']|map('default', 'z', boolean=true)|list }}{{ messages|map('upper')|list|length }}
{{ {'a':1}|attr('a') }}|{{ messages|last|attr('role') }}|{% set ns = namespace(a=1) %}{{ ns|attr('a') }}|{% for m in messages %}{{ loop|attr('index') }}{% endfor %}
{{ ['é\u200b\xa0', '\u2028', '\u200d\u0301', '\u0301', 'a"', "b'", 'c\'"', '\x00\x7f\x85', '🎉', '\ud7fc', '\ue000', '\n\t\r\\'] }}{{ {'k\xa0': ('v\u3000', 1.0, 1e20, none, true, x), 1: (), 2: (1,)} }}{{ ['\xa0']|string }}{{ '\xa0' }}{{ [1e-7, 0.1, -0.0, 1e16, 3] }}{{ {} }}{{ [[], [[]]] }}
{{ 1e20 }}{{ 1e400 }}{{ -1e400 }}{{ 1e20|string }}{{ namespace(a=1).a }}
"""

METHODS = r"""
{{ 'abcabc'.find('c', 3) }}{{ 'abcabc'.find('c', -1) }}{{ 'abc'.find('', 3) }}{{ 'abc'.find('', 4) }}{{ 'abc'.find('c', 0, -1) }}{{ 'héé'.find('é', 2) }}{{ 'abcabc'.rfind('a', 0, 3) }}{{ 'abcabc'.rfind('z', 1) }}{{ 'abcabc'.rindex('b', 1) }}{{ 'abcabc'.index('b', 2, 5) }}
{{ 'abcabc'.count('b', 2) }}{{ 'abcabc'.count('abc', 0, 5) }}{{ 'abc'.count('') }}{{ 'abc'.startswith('b', 1) }}{{ 'abc'.startswith(('x', 'b'), 1, 2) }}{{ 'abc'.endswith('b', 0, 2) }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abc'.startswith('', 4) }}{{ 'abc'.startswith('') }}
{{ [1,2,1,2].index(1, 1) }}{{ [1,2,1,2].index(2, -1) }}{{ (1,2).index(2, 0, 5) }}
{{ '5'.isdecimal() }}{{ '٣'.isdecimal() }}{{ '²'.isdecimal() }}{{ ''.isdecimal() }}{{ '²'.isdigit() }}{{ '½'.isdigit() }}{{ '12'.isdigit() }}{{ '½'.isnumeric() }}
{{ 'Abc Def'.istitle() }}{{ 'ABc'.istitle() }}{{ 'abc'.istitle() }}{{ ''.istitle() }}{{ 'A1b'.istitle() }}{{ 'A1B'.istitle() }}{{ "They'Re".istitle() }}{{ '1'.istitle() }}
{{ 'a\tb'.expandtabs() }}|{{ 'a\tbc\td'.expandtabs(4) }}|{{ 'a\tb'.expandtabs(tabsize=2) }}|{{ 'ab\n\tc'.expandtabs(3) }}|{{ 'a\tb'.expandtabs(0) }}
{{ 'abc'.isidentifier() }}{{ '1a'.isidentifier() }}{{ '_a1'.isidentifier() }}{{ 'a b'.isidentifier() }}{{ ''.isidentifier() }}{{ 'é'.isidentifier() }}
{{ dict([('a', 1), ['b', 2]]) }}{{ dict({'a': 1}.items(), c=3) }}{{ dict() }}{{ dict(a=1) }}{{ dict({'a': 1}, a=2) }}
{{ 'straße'.casefold() }}{{ 'ẞſΣς'.casefold() }}{{ 'İI'.casefold() }}{{ 'ꭰᏸ'.casefold() }}{{ 'ﬁ'.casefold() }}
{{ 'abc'.center(9, '*') }}{{ 'abc'.center(6, '-') }}{{ 'ab'.center(5, '-') }}{{ 'abc'.center(2) }}{{ 'a'.ljust(3, '.') }}{{ 'a'.rjust(3, '.') }}{{ 'abc'.center(-1) }}{{ 'abcd'|center(9) }}|
{{ messages[0].copy() }}{{ messages.copy()|length }}{{ [1].copy() + [2] }}
{{ "they're bill's x-y 1a ǆ ßa".title() }}{{ "they're"|title }}{{ 'ΣΑΣ'.title() }}{{ 'ვა'.title() }}
"""

SYNTAX = r"""
{{ 2 * 7 % 4 }}{{ 7 % 4 * 2 }}{{ 'ab' * (7 % 4) }}
{{ +1 }}{{ 1 + +1 }}{{ [+1, -1, +2] }}{{ 1 if +1 else +2 }}{{ {'a': +1} }}{{ (+1) }}{{ 1 ++ 1 }}{{ 1e+2 }}{{ 'a' + 'b' }}{{ [1][0] + 2 }}{{ not +0 }}
{% raw %}
  {{ 'a' ~ 1e-5 }}
{% endraw %}
{% raw -%}
 x{% endraw %}
{% raw %}{{ +1 }}{% generation %}{{ '%s' % 1 }}{% endraw %}{{ +1 }}{%- raw -%} {% x %} {{+ {%- endraw %}
{# {{ +1 }} '{% generation %} #}{{ '{% generation %}' ~ "{{ +1 }}" }}{% generation %}x{% endgeneration %}{%- generation -%} y {%- endgeneration -%}
{{ '{' }}{ {{ {'a': {'b': 1}}['a']['b'] }} }{{ '}}' }}{{ "it's \" '" }} ' {{ 1 }} '{{ 2 }} {{ '\\' }}{{ 'x' }}
{% macro f(n) %}{% if n > 0 %}{{ n % 10 }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(48) }}
{% macro f(n) %}{% if n > 0 %}{% for i in [n] %}{% if true %}{{ f(i - 1) }}{% endif %}{% endfor %}{% else %}end{% endif %}{% endmacro %}{{ f(48) }}
{{ messages[0].items is defined }}{{ messages[0].items is not defined }}{{ messages[0].keys is none }}{{ messages[0].get is callable }}{{ messages[0].values is string }}
{% if messages[0].items %}y{% endif %}{{ 'a' if messages[0].copy and true else 'b' }}{{ not messages[0].items }}
{% set ns = namespace(items=1) %}{{ ns.items }}{% set ns.items = 2 %}{{ ns.items }}{% set y = ns.items %}{{ y }}{% set ns.keys = ns.items + 1 %}{{ ns.keys }}{% set d = {'items': 3} %}{{ d['items'] }}{{ d.items()|list }}{{ d.items is defined }}{% set z = d.items is mapping %}{{ z }}
{{ 'abc'.index('b') }}{% for k, v in messages[0].items() %}{{ k }}{% endfor %}{{ messages.items is defined }}{{ {'a': {'values': 1}}.a['values'] }}
"""
