"""Templates of what Jinja and Python's strings do beyond the common: arguments by name, methods."""

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
