//! What Python's str knows of characters and Rust's standard library does not.

/// The zeros of Unicode's decimal digits; the other nine follow each.
const DECIMAL_ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
/// Digits that are not decimal: superscripts, circled ones and so on.
const OTHER_DIGITS: [(u32, u32); 20] = [
    (0xb2, 0xb3),
    (0xb9, 0xb9),
    (0x1369, 0x1371),
    (0x19da, 0x19da),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247c),
    (0x2488, 0x2490),
    (0x24ea, 0x24ea),
    (0x24f5, 0x24fd),
    (0x24ff, 0x24ff),
    (0x2776, 0x277e),
    (0x2780, 0x2788),
    (0x278a, 0x2792),
    (0x10a40, 0x10a43),
    (0x10e60, 0x10e68),
    (0x11052, 0x1105a),
    (0x1f100, 0x1f10a),
];

pub fn is_decimal(c: char) -> bool {
    DECIMAL_ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&(c as u32)))
}

pub fn is_digit(c: char) -> bool {
    is_decimal(c) || OTHER_DIGITS.iter().any(|(first, last)| (*first..=*last).contains(&(c as u32)))
}

pub fn is_identifier(text: &str) -> bool {
    let starts = |c: char| c == '_' || c.is_alphabetic();
    text.starts_with(starts) && text.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// `str.casefold`.
pub fn case_fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{131}' | '\u{13a0}'..='\u{13f5}' => folded.push(c),
            // Cherokee folds to its capitals.
            '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => folded.extend(c.to_uppercase()),
            '\u{1e9e}' => folded.push_str("ss"),
            c => folded.extend(c.to_uppercase().flat_map(char::to_lowercase)),
        }
    }
    folded
}

pub fn swap_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            swapped.extend(c.to_lowercase());
        } else {
            swapped.extend(c.to_uppercase());
        }
    }
    swapped
}

/// Letters that are two, of which title case capitalizes the first.
const DIGRAPHS: [[char; 3]; 4] = [
    ['\u{1c4}', '\u{1c5}', '\u{1c6}'],
    ['\u{1c7}', '\u{1c8}', '\u{1c9}'],
    ['\u{1ca}', '\u{1cb}', '\u{1cc}'],
    ['\u{1f1}', '\u{1f2}', '\u{1f3}'],
];

fn is_title_letter(c: char) -> bool {
    c.is_uppercase() || DIGRAPHS.iter().any(|[_, title, _]| *title == c)
}

fn push_title(out: &mut String, c: char) {
    if let Some([_, title, _]) = DIGRAPHS.iter().find(|forms| forms.contains(&c)) {
        return out.push(*title);
    }
    // Georgian has capitals, but no title case.
    if ('\u{10d0}'..='\u{10ff}').contains(&c) {
        return out.push(c);
    }
    let mut upper = c.to_uppercase();
    out.extend(upper.next());
    out.extend(upper.flat_map(char::to_lowercase));
}

/// `str.title`: whatever has no case begins a new word, the apostrophe too.
pub fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_word = !chars.peek().is_some_and(|next| next.is_alphabetic());
        match c {
            '\u{3a3}' if in_word && ends_word => titled.push('\u{3c2}'),
            c if in_word => titled.extend(c.to_lowercase()),
            c => push_title(&mut titled, c),
        }
        in_word = c.is_lowercase() || is_title_letter(c);
    }
    titled
}

pub fn is_title(text: &str) -> bool {
    let mut in_word = false;
    let mut has_words = false;
    for c in text.chars() {
        let begins = is_title_letter(c);
        if begins == in_word && (begins || c.is_lowercase()) {
            return false;
        }
        in_word = begins || c.is_lowercase();
        has_words |= in_word;
    }
    has_words
}

/// `str.isprintable` of one character.
pub fn is_printable(c: char) -> bool {
    // Only the first character of a string is escaped for being a combining one.
    let text = String::from_iter(['a', c]);
    matches!(c, '\'' | '"' | '\\') || text.escape_debug().nth(1) == Some(c)
}
