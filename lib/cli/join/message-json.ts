/**
 * `%j` and `%J`: a message as JSON, byte for byte as mosquitto_sub writes it. That is the JSON of
 * its library: text ends at U+0000 and need not be UTF-8, properties and keys keep their order and
 * may come twice, numbers have 15 digits where that is enough.
 */
import type { IncomingMessage } from '../../client/index.js';
import { strftime } from './strftime.js';

export interface JsonOptions {
  /** `text`: as a string. `json`: the payload is JSON itself. */
  readonly payload: 'text' | 'json';
  readonly pretty?: boolean;
}

/** What is written: text that is JSON already, or a list of members. */
type Value = Buffer | readonly (readonly [key: string, value: Value])[];

/** Throws when the payload is no JSON and should be. */
export function jsonOf(message: IncomingMessage, when: Date, options: JsonOptions): Buffer {
  const { payload, qos, retain, packetIdentifier } = message;
  const layout = options.pretty === true ? PRETTY : PLAIN;
  const microseconds = `${when.getMilliseconds()}`.padStart(3, '0').padEnd(6, '0');
  const properties = propertiesOf(message);
  const members: [string, Value][] = [
    ['tst', text(strftime(when, `%Y-%m-%dT%H:%M:%S.${microseconds}Z%z`))],
    ['topic', text(message.topicName)],
    ['qos', number(qos)],
    ['retain', number(retain ? 1 : 0)],
    ['payloadlen', number(payload.length)],
  ];
  if (qos > 0) members.push(['mid', number(packetIdentifier)]);
  if (properties.length > 0) members.push(['properties', properties]);
  members.push(['payload', payloadOf(payload, options.payload, layout)]);
  return write(members, layout, 0);
}

function propertiesOf({ properties }: IncomingMessage): [string, Value][] {
  const found: [string, Value][] = [];
  for (const [key, value] of Object.entries(properties) as [string, unknown][]) {
    const name = PROPERTY_NAMES.get(key);
    if (name === undefined || value === undefined) continue;
    if (typeof value === 'number') found.push([name, number(value)]);
    else if (typeof value === 'string') found.push([name, text(value)]);
    else if (value instanceof Uint8Array) found.push([name, bytes(value)]);
    else found.push([name, pairsOf(value as readonly (readonly [string, string])[])]);
  }
  return found;
}
function pairsOf(pairs: readonly (readonly [string, string])[]): [string, Value][] {
  return pairs.map(([name, value]) => [name, text(value)]);
}
const PROPERTY_NAMES = new Map([
  ['messageExpiryInterval', 'message-expiry-interval'], ['contentType', 'content-type'],
  ['userProperties', 'user-properties'], ['responseTopic', 'response-topic'],
  ['payloadFormatIndicator', 'payload-format-indicator'],
  ['correlationData', 'correlation-data'],
]);

function payloadOf(payload: Buffer, as: JsonOptions['payload'], layout: Layout): Buffer {
  if (payload.length === 0) return NULL;
  return as === 'text' ? bytes(payload) : writtenAnew(payload.toString(), layout);
}

// --- writing -------------------------------------------------------------------------------------

interface Layout {
  readonly colon: string;
  readonly comma: string;
  /** Before the members of an object, and before its end. */
  readonly line: (depth: number) => string;
}
const PLAIN: Layout = { colon: ':', comma: ',', line: () => '' };
const PRETTY: Layout = { colon: ':\t', comma: ', ', line: (depth) => `\n${'\t'.repeat(depth)}` };

const NULL = Buffer.from('null');

function number(value: number): Buffer {
  return Buffer.from(numberText(value));
}
function text(value: string): Buffer {
  return bytes(Buffer.from(value));
}
/** latin1 keeps every byte; what is escaped is below U+0080. */
function bytes(value: Uint8Array): Buffer {
  const whole = Buffer.from(value.buffer, value.byteOffset, value.length);
  const end = whole.indexOf(0);
  return Buffer.from(JSON.stringify(whole.toString('latin1', 0, end < 0 ? whole.length : end)),
    'latin1');
}

function write(value: Value, layout: Layout, depth: number): Buffer {
  if (Buffer.isBuffer(value)) return value;
  const parts: Buffer[] = [];
  (value as readonly (readonly [string, Value])[]).forEach(([key, member], at) => {
    const before = `${at === 0 ? '' : ','}${layout.line(depth + 1)}`;
    parts.push(Buffer.from(before), text(key), Buffer.from(layout.colon),
      write(member, layout, depth + 1));
  });
  return Buffer.concat([
    Buffer.from('{'), ...parts, Buffer.from(`${layout.line(depth)}}`),
  ]);
}

// --- JSON that is written anew -------------------------------------------------------------------

const TOKEN = /\{\s*\}|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** The text as it would be written here: nothing is sorted, nothing is lost. */
function writtenAnew(json: string, layout: Layout): Buffer {
  JSON.parse(json);
  const open: string[] = [];
  let out = '';
  /** What the payload holds stands one level below the message. */
  const line = (): string => layout.line(open.length + 1);
  for (const [token] of json.matchAll(TOKEN)) {
    if (EMPTY.test(token)) {
      out += `{${line()}}`;
    } else if (token === '{' || token === '[') {
      open.push(token);
      out += token === '{' ? `{${line()}` : '[';
    } else if (token === '}' || token === ']') {
      open.pop();
      out += token === '}' ? `${line()}}` : ']';
    } else if (token === ',') {
      out += open.at(-1) === '{' ? `,${line()}` : layout.comma;
    } else if (token === ':') {
      out += layout.colon;
    } else {
      out += scalar(token);
    }
  }
  return Buffer.from(out);
}

const EMPTY = /^\{\s*\}$/;

function scalar(token: string): string {
  if (token.startsWith('"')) return JSON.stringify(JSON.parse(token));
  return /^[-\d]/.test(token) ? numberText(Number(token)) : token;
}

const DIGITS = 15;
const DIGITS_EXACT = 17;

/** `%1.15g` of C, or `%1.17g` where that is another number. */
function numberText(value: number): string {
  const short = general(value, DIGITS);
  const difference = Math.abs(Number(short) - value);
  const isSame = difference <= Math.max(Math.abs(Number(short)), Math.abs(value)) * Number.EPSILON;
  return isSame ? short : general(value, DIGITS_EXACT);
}
function general(value: number, digits: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 10 ** digits) return `${value}`;
  const [mantissa, power] = value.toExponential(digits - 1).split('e');
  const exponent = Number(power);
  const strip = (number: string): string =>
    (number.includes('.') ? number.replace(/\.?0+$/, '') : number);
  if (exponent < LEAST_EXPONENT || exponent >= digits) {
    const size = `${Math.abs(exponent)}`.padStart(2, '0');
    return `${strip(mantissa)}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  return strip(value.toFixed(digits - 1 - exponent));
}
const LEAST_EXPONENT = -4;
