/**
 * Codecs: between the bytes of a payload and the value that a handler gets. Bytes are never read as
 * text unless they are text: what is not valid UTF-8 stays a Buffer or is a CodecError.
 */
import { isUtf8 } from 'node:buffer';
import { CodecError, NidoNestError } from './errors.js';

export interface Codec {
  readonly name: string;
  /** `possible`: the decoded value may be the envelope of Nest's stock transport. */
  readonly envelope: 'possible' | 'never';
  /** Throws when the value cannot be written. */
  encode(value: unknown): Uint8Array | string;
  /** Throws when the payload cannot be read. */
  decode(payload: Buffer): unknown;
  /** Instead of `decode` for payloads that are UTF-8 text, when it is there. */
  decodeText?(text: string): unknown;
  /** Loads what the codec needs; awaited before its first message. */
  load?(): Promise<void>;
}

/** What msgpack and CBOR packages have in common. */
export interface BinaryFormat {
  encode(value: unknown): Uint8Array;
  decode(payload: Uint8Array): unknown;
}

const REPLACEMENT = '\ufffd';
const JSON_START = /^[\s]*[[{"\-\dtfn]/;

/** Undefined when the bytes are not UTF-8. */
function textOf(payload: Buffer): string | undefined {
  const text = payload.toString('utf8');
  // Only a decoder's replacement character can hide broken bytes: the check is seldom needed.
  return text.includes(REPLACEMENT) && !isUtf8(payload) ? undefined : text;
}

function jsonText(value: unknown, codec: string): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (error) {
    // A BigInt, a circle, a toJSON that throws.
    throw new CodecError(codec, (error as Error).message, { cause: error });
  }
  if (text !== undefined) return text;
  if (value === undefined) return '';
  throw new CodecError(codec, `a ${typeof value} has no JSON form`);
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

class AutoCodec implements Codec {
  readonly name = 'auto';
  readonly envelope = 'possible';

  encode(value: unknown): Uint8Array | string {
    if (typeof value === 'string' || isBytes(value)) return value;
    return jsonText(value, this.name);
  }

  decode(payload: Buffer): unknown {
    const text = textOf(payload);
    return text === undefined ? payload : this.decodeText(text);
  }

  decodeText(text: string): unknown {
    if (!startsAsObject(text) && !JSON_START.test(text)) return text;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return text;
    }
    // 12345678901234567890 would lose its last digits as a number: it stays text.
    if (typeof value === 'number' && !Number.isSafeInteger(value) && losesDigits(value, text)) {
      return text;
    }
    return value;
  }
}

const OBJECT_START = 0x7b;

function startsAsObject(text: string): boolean {
  return text.charCodeAt(0) === OBJECT_START;
}

function losesDigits(value: number, text: string): boolean {
  return /^\s*-?\d+\s*$/.test(text) || !Number.isFinite(value);
}

class JsonCodec implements Codec {
  readonly name = 'json';
  readonly envelope = 'possible';

  encode(value: unknown): Uint8Array | string {
    return isBytes(value) ? value : jsonText(value, this.name);
  }

  decode(payload: Buffer): unknown {
    const text = textOf(payload);
    if (text === undefined) throw new CodecError(this.name, 'the payload is not UTF-8 text');
    return this.decodeText(text);
  }

  decodeText(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new CodecError(this.name, (error as Error).message, { cause: error });
    }
  }
}

class TextCodec implements Codec {
  readonly name = 'text';
  readonly envelope = 'never';

  encode(value: unknown): Uint8Array | string {
    if (isBytes(value)) return value;
    return typeof value === 'object' ? jsonText(value, this.name) : String(value ?? '');
  }

  decode(payload: Buffer): unknown {
    const text = textOf(payload);
    if (text === undefined) throw new CodecError(this.name, 'the payload is not UTF-8 text');
    return text;
  }

  decodeText(text: string): string {
    return text;
  }
}

class BufferCodec implements Codec {
  readonly name = 'buffer';
  readonly envelope = 'never';

  encode(value: unknown): Uint8Array | string {
    if (isBytes(value) || typeof value === 'string') return value;
    if (value === undefined) return '';
    throw new CodecError(this.name, `a ${typeof value} is not bytes: give a Buffer or a string`);
  }

  decode(payload: Buffer): unknown {
    return payload;
  }
}

/** A format of an optional package, imported when it is first needed. */
class PackageCodec implements Codec {
  readonly envelope = 'never';
  #format: BinaryFormat | undefined;

  constructor(
    readonly name: string,
    private readonly source: FormatPackage,
    format?: BinaryFormat,
  ) {
    this.#format = format;
  }

  async load(): Promise<void> {
    if (this.#format !== undefined) return;
    try {
      this.#format = await this.source.load();
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  encode(value: unknown): Uint8Array {
    const format = this.#ready();
    try {
      return format.encode(value);
    } catch (error) {
      throw new CodecError(this.name, (error as Error).message, { cause: error });
    }
  }

  decode(payload: Buffer): unknown {
    const format = this.#ready();
    try {
      return format.decode(payload);
    } catch (error) {
      throw new CodecError(this.name, (error as Error).message, { cause: error });
    }
  }

  #ready(): BinaryFormat {
    if (this.#format === undefined) throw this.#unusable(new Error('it is not loaded yet'));
    return this.#format;
  }

  #unusable(cause: unknown): NidoNestError {
    const { package: name } = this.source;
    return new NidoNestError(
      'NIDO_NEST_CODEC_PACKAGE',
      `the codec ${this.name} cannot use the package ${name}: ${(cause as Error).message}. ` +
        `npm install ${name}, or give ${this.name}(...) an object with encode and decode`,
      { cause },
    );
  }
}

interface FormatPackage {
  readonly package: string;
  load(): Promise<BinaryFormat>;
}

// A bundler leaves these imports alone: who does not use the codec need not have the package.
const MSGPACK: FormatPackage = {
  package: '@msgpack/msgpack',
  load: () => import(/* webpackIgnore: true */ '@msgpack/msgpack'),
};
const CBOR: FormatPackage = {
  package: 'cborg',
  load: () => import(/* webpackIgnore: true */ 'cborg'),
};

/** The default: JSON when it is JSON, else text when it is UTF-8, else the Buffer. */
export function auto(): Codec {
  return new AutoCodec();
}
/** JSON both ways. A payload that is not JSON is an error. Bytes are sent as they are. */
export function json(): Codec {
  return new JsonCodec();
}
/** UTF-8 text both ways. */
export function text(): Codec {
  return new TextCodec();
}
/** The bytes as they are. */
export function buffer(): Codec {
  return new BufferCodec();
}
/**
 * MessagePack, by the optional package `@msgpack/msgpack`, or by the object that you give. Binary
 * fields are Uint8Array.
 */
export function msgpack(format?: BinaryFormat): Codec {
  return new PackageCodec('msgpack', MSGPACK, format);
}
/**
 * CBOR, by the optional package `cborg`, or by the object that you give. Byte strings are
 * Uint8Array.
 */
export function cbor(format?: BinaryFormat): Codec {
  return new PackageCodec('cbor', CBOR, format);
}
