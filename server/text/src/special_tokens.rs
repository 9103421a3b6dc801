//! Which tokens a checkpoint declares special or added, gathered from tokenizer_config.json, special_tokens_map.json,
//! added_tokens.json and tokenizer.json in the order of precedence that Hugging Face's AutoTokenizer gives them.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Result, TextError};

/// The names that every tokenizer class knows. Others that end in `_token` are the checkpoint's own.
const STANDARD_NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

pub type TokensById = Vec<(u32, AddedToken)>;

#[derive(Default)]
pub struct SpecialTokens {
    /// `bos_token` and so on, in the order in which chat templates see them.
    pub named: Vec<(String, AddedToken)>,
    pub extra: Vec<AddedToken>,
    /// By token id, ascending.
    pub added: TokensById,
}

impl SpecialTokens {
    pub fn named_content(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(key, _)| key == name).map(|(_, token)| token.content.as_str())
    }

    /// The tokens to register with the tokenizer, in order: declared by id first, then the named ones, then the rest.
    pub fn tokens_to_add(&self, registered: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let mut tokens: Vec<AddedToken> =
            self.added.iter().map(|(_, token)| token.clone()).collect();
        for candidate in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            let known = registered(&candidate.content)
                || tokens.iter().any(|token| token.content == candidate.content);
            if !known {
                tokens.push(candidate.clone());
            }
        }
        for token in &mut tokens {
            token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
        }
        tokens
    }
}

/// The files that declare tokens, all but tokenizer.json optional.
pub struct Sources<'a> {
    pub config: &'a Map<String, Value>,
    pub special_tokens_map: Option<&'a Map<String, Value>>,
    pub added_tokens: Option<&'a Map<String, Value>>,
    /// tokenizer.json's own list.
    pub tokenizer_added: TokensById,
    /// What tokenizer.json pads with: the pad_token of a checkpoint that names none.
    pub padding: Option<String>,
}

pub fn collect(sources: Sources, class_defaults: &[(&str, &str)]) -> Result<SpecialTokens> {
    let mut fields = sources.config.clone();
    let mut tokens = SpecialTokens::default();
    if let Some(declared) = fields.remove("added_tokens_decoder") {
        tokens.added = declared_by_id(&declared)?;
    } else {
        for (key, value) in sources.special_tokens_map.into_iter().flatten() {
            fields.insert(key.clone(), value.clone());
        }
        tokens.added = legacy_added(&sources, &fields)?;
    }
    for (name, content) in class_defaults {
        fields.entry(name.to_string()).or_insert_with(|| Value::from(*content));
    }
    if let Some(padding) = sources.padding {
        fields.entry("pad_token").or_insert_with(|| Value::from(padding));
    }
    collect_named(&fields, &mut tokens)?;
    collect_extra(&fields, &mut tokens)?;
    Ok(tokens)
}

fn declared_by_id(declared: &Value) -> Result<TokensById> {
    let field = "tokenizer_config.json: added_tokens_decoder";
    let object = declared
        .as_object()
        .ok_or_else(|| TextError::invalid(format!("{field} must be an object")))?;
    let mut added = Vec::with_capacity(object.len());
    for (id, token) in object {
        let number = id
            .parse::<u32>()
            .map_err(|_| TextError::invalid(format!("{field}: \"{id}\" is not a token id")))?;
        let token = parse_token(token, false).ok_or_else(|| {
            TextError::invalid(format!("{field}: token {id} has no \"content\" string"))
        })?;
        added.push((number, token));
    }
    added.sort_by_key(|(id, _)| *id);
    Ok(added)
}

fn legacy_added(sources: &Sources, fields: &Map<String, Value>) -> Result<TokensById> {
    let mut added = TokensById::new();
    let mut put =
        |id: u32, token: AddedToken| match added.iter_mut().find(|(known, _)| *known == id) {
            Some(slot) => slot.1 = token,
            None => added.push((id, token)),
        };
    for (content, id) in sources.added_tokens.into_iter().flatten() {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
            TextError::invalid(format!("added_tokens.json: \"{content}\" has {id} for a token id"))
        })?;
        let special = STANDARD_NAMES
            .iter()
            .filter_map(|name| fields.get(*name).and_then(|value| parse_token(value, true)))
            .any(|token| token.content == *content);
        put(number, AddedToken::from(content.clone(), special).normalized(!special));
    }
    for (id, token) in &sources.tokenizer_added {
        put(*id, token.clone());
    }
    added.sort_by_key(|(id, _)| *id);
    Ok(added)
}

fn collect_named(fields: &Map<String, Value>, tokens: &mut SpecialTokens) -> Result<()> {
    for name in STANDARD_NAMES {
        match fields.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => add_named(name, value, tokens)?,
        }
    }
    let own = fields.iter().filter(|(key, value)| {
        key.ends_with("_token")
            && !STANDARD_NAMES.contains(&key.as_str())
            && parse_token(value, true).is_some()
    });
    for (name, value) in own {
        add_named(name, value, tokens)?;
    }
    if let Some(Value::Object(extra)) = fields.get("extra_special_tokens") {
        for (name, value) in extra {
            add_named(name, value, tokens)?;
        }
    }
    Ok(())
}

fn add_named(name: &str, value: &Value, tokens: &mut SpecialTokens) -> Result<()> {
    let token = parse_token(value, true).ok_or_else(|| {
        TextError::invalid(format!(
            "tokenizer_config.json: {name} must be a string or an object with a \"content\" string, not {value}"
        ))
    })?;
    let declared = tokens.added.iter().find(|(_, added)| added.content == token.content);
    let token = declared.map(|(_, added)| added.clone()).unwrap_or(token);
    tokens.named.push((name.to_string(), token));
    Ok(())
}

fn collect_extra(fields: &Map<String, Value>, tokens: &mut SpecialTokens) -> Result<()> {
    let declared = match fields.get("extra_special_tokens") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(Value::Object(_)) => return Ok(()),
        _ => match fields.get("additional_special_tokens") {
            Some(Value::Array(list)) => list,
            _ => return Ok(()),
        },
    };
    for value in declared {
        // What was saved as an object has its flags from there alone; a string becomes a special token.
        let special = value.get("__type").is_none();
        tokens.extra.push(parse_token(value, special).ok_or_else(|| {
            TextError::invalid(format!(
                "tokenizer_config.json: extra_special_tokens holds {value}, which is neither a string nor an object \
                 with \"content\""
            ))
        })?);
    }
    Ok(())
}

/// A token given as a string or as an object with `content` and its flags. `special` holds where the file does not say.
pub fn parse_token(value: &Value, special: bool) -> Option<AddedToken> {
    let (content, flags) = match value {
        Value::String(content) => (content.as_str(), None),
        Value::Object(object) => (object.get("content")?.as_str()?, Some(object)),
        _ => return None,
    };
    let flag = |name: &str| flags.and_then(|object| object.get(name)).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(special);
    let mut token = AddedToken::from(content, special);
    token.single_word = flag("single_word").unwrap_or(token.single_word);
    token.lstrip = flag("lstrip").unwrap_or(token.lstrip);
    token.rstrip = flag("rstrip").unwrap_or(token.rstrip);
    token.normalized = flag("normalized").unwrap_or(token.normalized);
    Some(token)
}
