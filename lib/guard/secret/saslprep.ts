/**
 * SASLprep (RFC 4013) of user names and passwords, as SCRAM asks for: exotic spaces become spaces,
 * invisible joiners go, NFKC, and control characters are refused. Unassigned code points are let
 * through (a query, in the words of RFC 3454).
 */

type Ranges = readonly (readonly [first: number, last: number])[];

// RFC 3454 tables C.1.2 and B.1.
const otherSpaces = oneOf([
  [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200b], [0x202f, 0x202f], [0x205f, 0x205f],
  [0x3000, 0x3000],
], 'gu');
const mappedToNothing = oneOf([
  [0xad, 0xad], [0x34f, 0x34f], [0x1806, 0x1806], [0x180b, 0x180d], [0x200c, 0x200d],
  [0x2060, 0x2060], [0xfe00, 0xfe0f], [0xfeff, 0xfeff],
], 'gu');
// Tables C.3 to C.9: non-character, inappropriate, direction, tagging. The rest are classes.
const prohibited = oneOf([
  [0x340, 0x341], [0x6dd, 0x6dd], [0x70f, 0x70f], [0x180e, 0x180e], [0x200c, 0x200f],
  [0x2028, 0x202e], [0x2060, 0x2063], [0x206a, 0x206f], [0x2ff0, 0x2ffb], [0xfdd0, 0xfdef],
  [0xfeff, 0xfeff], [0xfff9, 0xffff], [0x1d173, 0x1d17a], [0xe0001, 0xe0001], [0xe0020, 0xe007f],
], 'u');
const controlOrPrivate = /[\p{Cc}\p{Co}\p{Cs}]/u;
const rightToLeft = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u;
const leftToRight = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}]/u;

function oneOf(ranges: Ranges, flags: string): RegExp {
  const escape = (codePoint: number): string => `\\u{${codePoint.toString(16)}}`;
  const escaped = ranges.map(([first, last]) => `${escape(first)}-${escape(last)}`);
  return new RegExp(`[${escaped.join('')}]`, flags);
}

/** The prepared text, or undefined when it holds what a name or password must not hold. */
export function saslprep(text: string): string | undefined {
  const mapped = text.replace(otherSpaces, ' ').replace(mappedToNothing, '').normalize('NFKC');
  if (prohibited.test(mapped) || controlOrPrivate.test(mapped)) return undefined;
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
