/**
 * Reads the specimens: Markdown, one file per packet type. `## name` begins one. A fenced block
 * `bytes` is what the client sends; a block `reply` is what the server must send, and at its end
 * `closed` when the server must close. Everything behind `;` is a comment. A blank line in `reply` ends a packet;
 * `..` stands for any byte and `*` for the rest of the packet.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const SPECIMEN_DIRECTORY = join(process.cwd(), 'test', 'specimens');

/** One byte that must come, or undefined for any byte. */
export interface PacketPattern {
  readonly bytes: readonly (number | undefined)[];
  /** Ends in `*`: whatever follows belongs to it. */
  readonly open: boolean;
  readonly text: string;
}

export interface Specimen {
  readonly file: string;
  readonly name: string;
  readonly bytes: Buffer;
  readonly replies: readonly PacketPattern[];
  readonly closed: boolean;
}

const withoutComments = (block: string): string[] =>
  block.split('\n').map((line) => line.replace(/;.*$/, '').trim());

function byte(token: string, where: string): number {
  if (!/^[0-9a-f]{2}$/i.test(token)) throw new Error(`${where}: "${token}" is not a byte in hex`);
  return parseInt(token, 16);
}

function patternOf(tokens: readonly string[], where: string): PacketPattern {
  const open = tokens.at(-1) === '*';
  const list = open ? tokens.slice(0, -1) : tokens;
  return {
    open,
    text: tokens.join(' '),
    bytes: list.map((token) => (token === '..' ? undefined : byte(token, where))),
  };
}

function repliesOf(block: string, where: string): Pick<Specimen, 'replies' | 'closed'> {
  const replies: PacketPattern[] = [];
  let closed = false;
  let tokens: string[] = [];
  const lines = block.split('\n');
  for (const [at, line] of withoutComments(block).entries()) {
    // A line with nothing but a comment does not end a packet.
    const blank = (lines[at] ?? '').trim() === '';
    if (line === 'closed') closed = true;
    else if (line !== '') tokens.push(...line.split(/\s+/));
    if ((blank || line === 'closed') && tokens.length > 0) {
      replies.push(patternOf(tokens, where));
      tokens = [];
    }
  }
  if (tokens.length > 0) replies.push(patternOf(tokens, where));
  return { replies, closed };
}

function fence(section: string, name: string): string | undefined {
  return new RegExp(`\`\`\`${name}\\n([\\s\\S]*?)\`\`\``).exec(section)?.[1];
}

export function readSpecimens(): Specimen[] {
  const files = readdirSync(SPECIMEN_DIRECTORY).filter((name) => name.endsWith('.md')).sort();
  return files.flatMap((file) => {
    const sections = readFileSync(join(SPECIMEN_DIRECTORY, file), 'utf8').split(/^## /m).slice(1);
    return sections.map((section): Specimen => {
      const name = section.slice(0, section.indexOf('\n')).trim();
      const where = `${file}, "${name}"`;
      const [sent, expected] = [fence(section, 'bytes'), fence(section, 'reply')];
      if (sent === undefined || expected === undefined) {
        throw new Error(`${where} needs a block \`bytes\` and a block \`reply\``);
      }
      const tokens = withoutComments(sent).join(' ').split(/\s+/).filter((token) => token !== '');
      const bytes = Buffer.from(tokens.map((token) => byte(token, where)));
      return { file, name, bytes, ...repliesOf(expected, where) };
    });
  });
}

/** Cuts a stream into whole packets by their fixed headers. */
export function packetsOf(bytes: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    let [length, shift, end] = [0, 0, at + 1];
    for (; end < bytes.length; shift += 7) {
      const byte = bytes[end++] ?? 0;
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    if (end + length > bytes.length) return packets;
    packets.push(bytes.subarray(at, end + length));
    at = end + length;
  }
  return packets;
}

/** Why `packets` are not what the specimen expects, or undefined. */
export function mismatch(specimen: Specimen, packets: readonly Buffer[]): string | undefined {
  for (const [at, pattern] of specimen.replies.entries()) {
    const packet = packets[at];
    const got = packet?.toString('hex').replace(/(..)(?=.)/g, '$1 ') ?? 'nothing';
    const fits = packet !== undefined
      && (pattern.open ? packet.length >= pattern.bytes.length
        : packet.length === pattern.bytes.length)
      && pattern.bytes.every((one, index) => one === undefined || one === packet[index]);
    if (!fits) return `reply ${at + 1}: expected ${pattern.text}, got ${got}`;
  }
  const more = packets[specimen.replies.length];
  return more ? `unexpected reply ${more.toString('hex')}` : undefined;
}
