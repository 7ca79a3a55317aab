/**
 * SASLprep (RFC 4013) of user names and passwords, as SCRAM asks for: exotic spaces become spaces, invisible joiners go,
 * NFKC, and control characters are refused. Unassigned code points are let through (a query, in the words of RFC 3454).
 */

// RFC 3454 table C.1.2 and B.1.
const otherSpaces = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g;
const mappedToNothing = /[\u00AD\u034F\u1806\u180B-\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/g;
// Tables C.2 to C.9: control, private use, non-character, surrogate, inappropriate, direction, tagging.
const prohibited = new RegExp(
  '[\\p{Cc}\\p{Co}\\p{Cs}\\u06DD\\u070F\\u180E\\u200C-\\u200F\\u2028-\\u202E\\u2060-\\u2063\\u206A-\\u206F'
  + '\\u2FF0-\\u2FFB\\u0340\\u0341\\uFDD0-\\uFDEF\\uFEFF\\uFFF9-\\uFFFF\\u{1D173}-\\u{1D17A}'
  + '\\u{E0001}\\u{E0020}-\\u{E007F}]', 'u',
);
const rightToLeft = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u;
const leftToRight = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}]/u;

/** The prepared text, or undefined when it holds what a name or password must not hold. */
export function saslprep(text: string): string | undefined {
  const mapped = text.replace(otherSpaces, ' ').replace(mappedToNothing, '').normalize('NFKC');
  if (prohibited.test(mapped)) return undefined;
  if (rightToLeft.test(mapped)) {
    const characters = [...mapped];
    const ends = [characters[0], characters[characters.length - 1]];
    if (leftToRight.test(mapped) || !ends.every((end) => rightToLeft.test(end))) return undefined;
  }
  return mapped;
}

/** The bytes a password is hashed as: prepared where it can be, as they came where it cannot. */
export function preparePassword(password: Uint8Array): Uint8Array {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(password);
  } catch {
    return password;
  }
  const prepared = saslprep(text);
  return prepared === undefined ? password : Buffer.from(prepared, 'utf8');
}
