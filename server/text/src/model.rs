//! A checkpoint's text side, loaded once and immutable after: tokenizer, special tokens, chat template.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::chat::ChatTemplates;
use crate::decode::{DecodePlan, CLEAN_UP};
use crate::error::{Result, TextError};
use crate::files;
use crate::special_tokens::{self, Sources, SpecialTokens, TokensById};
use crate::token_table::TokenTable;
use crate::tokenizer_class::TokenizerClass;

pub struct TextModel {
    tokenizer: Tokenizer,
    pub special: SpecialTokens,
    pub table: TokenTable,
    pub plan: DecodePlan,
    pub templates: ChatTemplates,
    /// What works otherwise than whoever starts the server may think.
    pub warnings: Vec<String>,
}

impl TextModel {
    pub fn load(dir: &Path) -> Result<TextModel> {
        let bytes = files::read_tokenizer(dir)?;
        let config = files::read_object(dir, "tokenizer_config.json")?.unwrap_or_default();
        let model = files::read_object(dir, "config.json")?.unwrap_or_default();
        let special_tokens_map = files::read_object(dir, "special_tokens_map.json")?;
        let added_tokens = files::read_object(dir, "added_tokens.json")?;

        let class = TokenizerClass::of(&config, &model, contains(&bytes, b"\"ByteLevel\""));
        let path = dir.join("tokenizer.json");
        let (mut tokenizer, tokenizer_added, padding) = build(&path, &bytes, &class)?;
        drop(bytes);
        let sources = Sources {
            config: &config,
            special_tokens_map: special_tokens_map.as_ref(),
            added_tokens: added_tokens.as_ref(),
            tokenizer_added,
            padding: padding.filter(|_| class.takes_padding()),
        };
        let special = special_tokens::collect(sources, class.default_tokens())?;
        register(&path, &mut tokenizer, &special)?;
        if let TokenizerClass::CodeLlama { .. } = class {
            class_adds_bos(&mut tokenizer, &special)?;
        }
        if config.get("split_special_tokens").and_then(Value::as_bool) == Some(true) {
            tokenizer.set_encode_special_tokens(true);
        }
        let table = TokenTable::build(&tokenizer)?;
        let plan = DecodePlan::new(&tokenizer, cleans_up(&config, &tokenizer));
        let templates = ChatTemplates::load(dir, &config)?;
        let warnings = templates.warnings();
        Ok(TextModel { tokenizer, special, table, plan, templates, warnings })
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, add_special_tokens)
            .map_err(|error| TextError::internal(format!("the tokenizer failed: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids that name no token are left out, as the reference does.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        if ids.is_empty() {
            return Ok(String::new());
        }
        let mut text = self
            .tokenizer
            .decode(ids, skip_special_tokens)
            .map_err(|error| TextError::internal(format!("the detokenizer failed: {error}")))?;
        if self.plan.cleans_up {
            for (pattern, content) in CLEAN_UP {
                text = text.replace(pattern, content);
            }
        }
        Ok(text)
    }

    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The id of `bos_token`, `eos_token` and so on.
    pub fn special_token_id(&self, name: &str) -> Option<u32> {
        self.special.named_content(name).and_then(|content| self.token_to_id(content))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The tokenizer, and tokenizer.json's own list of added tokens and token for padding.
fn build(
    path: &Path,
    bytes: &[u8],
    class: &TokenizerClass,
) -> Result<(Tokenizer, TokensById, Option<String>)> {
    let refused = |why: String| {
        TextError::invalid(format!(
            "{} is not a tokenizer that can be loaded: {why} ({} bytes; is the file complete?)",
            path.display(),
            bytes.len()
        ))
    };
    let mut tokenizer;
    let mut added: TokensById;
    if class.is_as_stored() {
        tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| refused(error.to_string()))?;
        added = tokenizer.get_added_tokens_decoder().into_iter().collect();
    } else {
        let mut parsed: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        added = stored_added_tokens(&parsed);
        class.apply(&mut parsed);
        let rewritten = serde_json::to_vec(&parsed).map_err(|error| refused(error.to_string()))?;
        drop(parsed);
        tokenizer = Tokenizer::from_bytes(rewritten).map_err(|error| refused(error.to_string()))?;
    }
    added.sort_by_key(|(id, _)| *id);
    // A prompt is never cut or filled up behind the caller's back.
    tokenizer.with_truncation(None).map_err(|error| refused(error.to_string()))?;
    let padding = tokenizer.get_padding().map(|padding| padding.pad_token.clone());
    tokenizer.with_padding(None);
    Ok((tokenizer, added, padding))
}

fn stored_added_tokens(parsed: &Map<String, Value>) -> TokensById {
    let list = parsed.get("added_tokens").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|token| {
            let id = u32::try_from(token.get("id")?.as_u64()?).ok()?;
            Some((id, special_tokens::parse_token(token, false)?))
        })
        .collect()
}

fn register(path: &Path, tokenizer: &mut Tokenizer, special: &SpecialTokens) -> Result<()> {
    let registered: std::collections::HashSet<String> =
        tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let tokens = special.tokens_to_add(|content| registered.contains(content));
    tokenizer.add_tokens(tokens).map(|_| ()).map_err(|error| {
        TextError::invalid(format!(
            "the added tokens of {} cannot be registered: {error}",
            path.display()
        ))
    })
}

/// CodeLlamaTokenizer replaces the post-processor by one that writes the BOS.
fn class_adds_bos(tokenizer: &mut Tokenizer, special: &SpecialTokens) -> Result<()> {
    use tokenizers::processors::template::TemplateProcessing;
    let Some(bos) = special.named_content("bos_token") else { return Ok(()) };
    let Some(id) = tokenizer.token_to_id(bos) else { return Ok(()) };
    let template = TemplateProcessing::builder()
        .try_single(format!("{bos}:0 $A:0"))
        .and_then(|builder| builder.try_pair(format!("{bos}:0 $A:0 {bos}:1 $B:1")))
        .map_err(|error| TextError::internal(error.to_string()))?
        .special_tokens(vec![(bos.to_string(), id)])
        .build()
        .map_err(|error| TextError::internal(error.to_string()))?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}

/// Removing spaces before punctuation was made for WordPiece; BPE models are spared unless they insist.
fn cleans_up(config: &Map<String, Value>, tokenizer: &Tokenizer) -> bool {
    let flag = |name: &str| config.get(name).and_then(Value::as_bool).unwrap_or(false);
    let is_bpe = matches!(tokenizer.get_model(), tokenizers::ModelWrapper::BPE(_));
    flag("clean_up_tokenization_spaces")
        && (!is_bpe
            || flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"))
}
