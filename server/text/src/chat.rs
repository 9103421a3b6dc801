//! Chat templates: Jinja as transformers' `apply_chat_template` sets it up (trim_blocks, lstrip_blocks, loop controls,
//! raise_exception, strftime_now, its own tojson), rendered by minijinja under limits.

use std::io::{self, Write};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::Map;

use crate::error::{Code, Result, TextError};
use crate::files;
use crate::repr::to_text;
use crate::special_tokens::SpecialTokens;
use crate::template_source;

/// Template instructions for one prompt. A published template spends below 100 on a message.
const MAX_STEPS: u64 = 20_000_000;
const MAX_PROMPT_BYTES: usize = 64 << 20;
/// Variables that are the call's own and cannot be overridden.
const RESERVED: [&str; 2] = ["messages", "add_generation_prompt"];

pub struct Message<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

pub struct Request<'a> {
    pub messages: Vec<Message<'a>>,
    pub add_generation_prompt: bool,
    /// A JSON object, or empty.
    pub variables: &'a str,
    /// What strftime_now takes for now, seconds since 1970.
    pub now: i64,
}

pub struct ChatTemplates {
    environment: Environment<'static>,
    templates: Vec<Template>,
}

struct Template {
    name: String,
    /// Its path, for warnings.
    file: String,
    /// Why it does not compile, where it does not.
    failure: Option<String>,
}

struct Source {
    name: String,
    /// Within the checkpoint's directory.
    file: String,
    text: String,
}

/// What raise_exception raised: the template's own words, for the client.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl ChatTemplates {
    /// Files take precedence over the `chat_template` of tokenizer_config.json, which is a string or a list of named
    /// templates. chat_template.json is the older form that processors saved.
    pub fn load(dir: &Path, config: &Map<String, serde_json::Value>) -> Result<ChatTemplates> {
        let mut sources = template_files(dir)?;
        if sources.is_empty() {
            sources = match config.get("chat_template") {
                None | Some(serde_json::Value::Null) => legacy_template(dir)?,
                Some(value) => named_templates(value, "tokenizer_config.json")?,
            };
        }
        let mut environment = environment();
        let mut templates = Vec::new();
        for Source { name, file, text } in sources {
            // A template that does not compile is an error only for those who use it.
            let failure = environment
                .add_template_owned(name.clone(), template_source::prepare(&text))
                .err()
                .map(|error| describe(&error));
            templates.push(Template { name, file: dir.join(file).display().to_string(), failure });
        }
        Ok(ChatTemplates { environment, templates })
    }

    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// For whoever starts the server: what refuses chats, though there is a template.
    pub fn warnings(&self) -> Vec<String> {
        let failures = self.templates.iter().filter_map(|Template { name, file, failure }| {
            let why = failure.as_ref()?;
            Some(format!("{file}: the chat template \"{name}\" does not compile, and chats that need it are refused: {why}"))
        });
        let mut warnings: Vec<String> = failures.collect();
        if let (Some(first), None) = (self.templates.first(), self.find("default")) {
            warnings.push(format!(
                "{}: {}, and chats are refused",
                first.file,
                self.without_default()
            ));
        }
        warnings
    }

    pub fn render(&self, special: &SpecialTokens, request: &Request) -> Result<String> {
        if request.messages.is_empty() {
            return Err(TextError::invalid(
                "the conversation has no messages: at least one is needed",
            ));
        }
        let variables = parse_variables(request.variables)?;
        let name = self.choose(variables.get("tools").is_some_and(|tools| !tools.is_null()))?;
        let template = self.environment.get_template(name).map_err(|error| failure(&error))?;
        let mut prompt = Limited { bytes: Vec::new() };
        template
            .render_captured_to(context(special, request, &variables), &mut prompt)
            .map_err(|error| failure(&error))?;
        String::from_utf8(prompt.bytes)
            .map_err(|_| TextError::internal("the chat template's output is not UTF-8"))
    }

    fn choose(&self, with_tools: bool) -> Result<&str> {
        let precondition = |message: String| TextError::new(Code::FailedPrecondition, message);
        if self.templates.is_empty() {
            return Err(precondition(
                "this checkpoint has no chat template (chat_template.jinja, or chat_template in \
                 tokenizer_config.json): send the prompt as text or token ids"
                    .to_string(),
            ));
        }
        let with_tools = if with_tools { self.find("tool_use") } else { None };
        match with_tools.or_else(|| self.find("default")) {
            None => Err(precondition(format!("this checkpoint's {}", self.without_default()))),
            Some(Template { name, failure: Some(why), .. }) => Err(precondition(format!(
                "this checkpoint's chat template \"{name}\" does not compile: {why}"
            ))),
            Some(Template { name, .. }) => Ok(name),
        }
    }

    fn find(&self, name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.name == name)
    }

    fn without_default(&self) -> String {
        let names: Vec<&str> = self.templates.iter().map(|t| t.name.as_str()).collect();
        format!("chat templates are {}, none is named \"default\"", names.join(", "))
    }
}

fn template_files(dir: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let file = "chat_template.jinja";
    if let Some(text) = files::read_text(&dir.join(file))? {
        sources.push(Source { name: "default".to_string(), file: file.to_string(), text });
    }
    if let Ok(entries) = std::fs::read_dir(dir.join("additional_chat_templates")) {
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".jinja"));
            if let (Some(name), Some(text)) = (name, files::read_text(&path)?) {
                let file = format!("additional_chat_templates/{name}.jinja");
                sources.push(Source { name: name.to_string(), file, text });
            }
        }
    }
    Ok(sources)
}

fn legacy_template(dir: &Path) -> Result<Vec<Source>> {
    let name = "chat_template.json";
    match files::read_object(dir, name)?.and_then(|mut object| object.remove("chat_template")) {
        None => Ok(Vec::new()),
        Some(value) => named_templates(&value, name),
    }
}

fn named_templates(value: &serde_json::Value, file: &str) -> Result<Vec<Source>> {
    let wrong = || {
        TextError::invalid(format!(
            "{file}: chat_template must be a string or a list of {{\"name\", \"template\"}} objects"
        ))
    };
    let string = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_str).map(str::to_string).ok_or_else(wrong)
    };
    let source = |name: String, text: String| Source { name, file: file.to_string(), text };
    match value {
        serde_json::Value::String(text) => Ok(vec![source("default".to_string(), text.clone())]),
        serde_json::Value::Array(list) => list
            .iter()
            .map(|entry| Ok(source(string(entry.get("name"))?, string(entry.get("template"))?)))
            .collect(),
        serde_json::Value::Object(named) => {
            named.iter().map(|(name, text)| Ok(source(name.clone(), string(Some(text))?))).collect()
        }
        _ => Err(wrong()),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(500);
    minijinja_contrib::add_to_environment(&mut environment);
    crate::python::register(&mut environment);
    environment.add_filter("tojson", crate::json::to_json);
    environment.add_function(
        "raise_exception",
        |message: &Value| -> std::result::Result<Value, Error> {
            let message = to_text(message);
            Err(Error::new(ErrorKind::InvalidOperation, message.clone())
                .with_source(Raised(message)))
        },
    );
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            out.write_str(&to_text(value)).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment
}

fn parse_variables(json: &str) -> Result<Map<String, serde_json::Value>> {
    if json.trim().is_empty() {
        return Ok(Map::new());
    }
    let parsed: serde_json::Value = serde_json::from_str(json).map_err(|error| {
        TextError::invalid(format!("template_variables is not valid JSON: {error}"))
    })?;
    let serde_json::Value::Object(variables) = parsed else {
        return Err(TextError::invalid("template_variables must be a JSON object"));
    };
    for name in RESERVED {
        if variables.contains_key(name) {
            return Err(TextError::invalid(format!(
                "template_variables may not hold \"{name}\": it is a field of the request"
            )));
        }
    }
    Ok(variables)
}

fn context(
    special: &SpecialTokens,
    request: &Request,
    variables: &Map<String, serde_json::Value>,
) -> Value {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for (name, token) in &special.named {
        entries.push((name.clone(), Value::from(token.content.as_str())));
    }
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| {
            Value::from_pairs([
                ("role", Value::from(message.role)),
                ("content", Value::from(message.content)),
            ])
        })
        .collect();
    entries.push(("messages".to_string(), Value::from(messages)));
    entries.push(("add_generation_prompt".to_string(), Value::from(request.add_generation_prompt)));
    entries.push(("tools".to_string(), Value::from(())));
    entries.push(("documents".to_string(), Value::from(())));
    let now = request.now;
    let strftime_now = move |format: &str| crate::time::strftime(format, now);
    entries.push(("strftime_now".to_string(), Value::from_function(strftime_now)));
    for (name, value) in variables {
        entries.push((name.clone(), to_value(value)));
    }
    Value::from_pairs(entries)
}

fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => {
            Value::from(list.iter().map(to_value).collect::<Vec<_>>())
        }
        serde_json::Value::Object(object) => {
            Value::from_pairs(object.iter().map(|(key, value)| (key.as_str(), to_value(value))))
        }
    }
}

fn failure(error: &Error) -> TextError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
            return TextError::invalid(message.clone());
        }
        if inner.downcast_ref::<Error>().is_some_and(|inner| inner.kind() == ErrorKind::OutOfFuel) {
            return TextError::invalid(format!(
                "the chat template did not end within {MAX_STEPS} steps: shorten the conversation or its variables"
            ));
        }
        cause = inner.source();
    }
    TextError::invalid(format!("the chat template failed on these messages: {}", describe(error)))
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

struct Limited {
    bytes: Vec<u8>,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other(format!(
                "the prompt exceeds the limit of {MAX_PROMPT_BYTES} bytes"
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
