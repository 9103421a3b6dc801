"""The conversations and variables that the chat templates are rendered with."""

from chat_templates import TEMPLATES

NOW = 1721995200  # 26 July 2024, 12:00 UTC

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def turns(*contents, system=None):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for index, content in enumerate(contents):
        messages.append({"role": ("user", "assistant")[index % 2], "content": content})
    return messages


CONVERSATIONS = [
    turns("Hello there!\n"),
    turns("  Hello\tworld. \n\n", "Hi — how are you?", "Fine! \x1c", system=" Be brief. "),
    turns("one", " two ", "three", "four", "five <|eot_id|> </s> {{ bos_token }} {% if %}"),
    turns("今日は 🙂 \u00e9 \"quoted\" 'single' <b>&amp;</b> \\ back", "ok\u2028", system=""),
    [{"role": "assistant", "content": "I begin"}, {"role": "tool", "content": "42"}],
    [{"role": "system", "content": "only a system message"}],
    [{"role": "user", "content": ""}],
]

TOOL = {
    "type": "function",
    "function": {
        "name": "get_tide",
        "description": "The tide's height (m) at a harbour — \"now\" if no time",
        "parameters": {
            "type": "object",
            "properties": {"harbour": {"type": "string", "enum": ["Ålesund", "東京"]}, "hours": {"type": "number", "default": 1.5, "minimum": 1e-05}},
            "required": ["harbour"],
        },
    },
}
VALUES = {
    "text": 'é "q" \\ / \n\t\b\f\r\x01 <&>\' 🙂 \x7f',
    "numbers": [0, -1, 1.0, 0.1, 1e16, 1e-5, 123456789012, 1e100, -0.0, 2.5e-7],
    "flags": [True, False, None],
    "nested": {"z": {"b": [1, 2], "a": {}}, "a": []},
    "empty": "",
}
VARIABLES = {
    "tools": [
        {"tools": [TOOL]},
        {"tools": [TOOL], "tools_in_user_message": False, "date_string": "1 Jan 2030"},
        {"custom_tools": [TOOL, {"name": "x"}], "builtin_tools": ["brave_search", "code_interpreter"]},
        {"bos_token": "<other>"},
    ],
    "json": [{"values": VALUES}],
    "calls": [{"values": VALUES}],
}


def cases_for(name):
    """Every conversation with every set of variables, with and without the generation prompt."""
    template = TEMPLATES[name]
    plain = [] if name in ("json", "calls") else [{}]
    for messages in CONVERSATIONS:
        for variables in plain + VARIABLES.get(name, []):
            for add_generation_prompt in (False, True) if "add_generation_prompt" in template else (False,):
                yield {
                    "messages": messages,
                    "variables": variables,
                    "add_generation_prompt": add_generation_prompt,
                }
