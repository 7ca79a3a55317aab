/** What `nidomq pub` does. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NidoClient, PublishOptions } from '../../client/index.js';
import type { CliOutput } from '../output.js';
import { CommandEnded, EXIT_FAILED } from '../cli-error.js';
import {
  CONNECTION_FLAGS, FOREIGN_FLAGS, TLS_FLAGS, WILL_FLAGS, connectionOf,
} from './connection-flags.js';
import type { Flag, FlagValues } from './flags.js';
import { helpOf, invalid, parseFlags } from './flags.js';
import { readProperties } from './properties.js';
import { Session } from './session.js';

const MESSAGE_FLAGS: readonly Flag[] = [
  { names: ['-t', '--topic'], values: ['topic'], help: 'Topic Name' },
  { names: ['-m', '--message'], values: ['payload'], help: 'the payload' },
  { names: ['-f', '--file'], values: ['file'], help: 'the payload is what the file holds' },
  { names: ['-s', '--stdin-file'], values: [], help: 'the payload is all of stdin' },
  { names: ['-l', '--stdin-line'], values: [], help: 'a message for each line of stdin' },
  { names: ['-n', '--null-message'], values: [], help: 'an empty payload' },
  { names: ['-q', '--qos'], values: ['qos'], help: '0 (default), 1 or 2' },
  { names: ['-r', '--retain'], values: [], help: 'the message is retained' },
  { names: ['--repeat'], values: ['times'], help: 'with -m, -f, -n, -s: so many times' },
  { names: ['--repeat-delay'], values: ['seconds'], help: 'between two of them' },
  { names: ['--help'], values: [], help: 'this' },
];
const USAGE = 'nidomq pub [-h host] [-p port] -t topic -m payload | -f file | -s | -l | -n';
const ABOUT = 'Publishes and waits until the server has it (QoS 1, 2).\n'
  + 'Exit status: 0 done, 1 failed, 2 asked wrongly, else the code with which the server refused.';
const GROUPS = [MESSAGE_FLAGS, CONNECTION_FLAGS, WILL_FLAGS, TLS_FLAGS];
const SOURCES = ['-m', '-f', '-s', '-l', '-n'];

/** Messages of `-l` that are under way. */
const LINES_MAX = 1000;

interface Message {
  readonly topic: string;
  readonly options: PublishOptions;
}

export async function publishCommand(words: readonly string[], output: CliOutput): Promise<void> {
  const said = parseFlags(words, GROUPS.flat(), FOREIGN_FLAGS);
  if (said.has('--help')) {
    output.line(helpOf(USAGE, ABOUT, GROUPS));
    return;
  }
  const properties = readProperties(said.all('-D'));
  const { options, urlTopic } = connectionOf(said, properties);
  const topic = said.text('-t') ?? urlTopic;
  if (topic === undefined) throw invalid('no topic: -t, or -L with a path');
  const source = said.oneOf(SOURCES);
  if (source === undefined) throw invalid(`no message: ${SOURCES.join(', ')}`);
  if (said.all(source).length > 1) throw invalid(`${source} was given twice: there is one message`);
  const qos = said.number('-q', 0, 2) as 0 | 1 | 2 | undefined;
  const message: Message = {
    topic,
    options: { qos, retain: said.has('-r'), properties: properties.of('publish') },
  };
  const repeat = said.number('--repeat', 1, 1_000_000_000) ?? 1;
  const delayMs = (said.seconds('--repeat-delay', 0) ?? 0) * 1000;
  const payload = source === '-l' ? undefined : await payloadOf(source, said);
  const session = new Session(output, said, properties);
  await session.run(options, async (client) => {
    if (payload === undefined) await publishLines(client, message, session);
    else for (let time = 0; time < repeat; time += 1) {
      if (time > 0 && delayMs > 0) await sleep(delayMs);
      await client.publish(topic, payload, message.options);
    }
  });
}

async function payloadOf(source: string, said: FlagValues): Promise<Uint8Array | string> {
  if (source === '-m') return said.text('-m') ?? '';
  if (source === '-n') return '';
  if (source === '-s') {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }
  const file = said.text('-f') ?? '';
  try {
    return readFileSync(file);
  } catch (cause) {
    throw invalid(`-f ${file}: ${(cause as Error).message}`);
  }
}

const NEWLINE = 0x0a;

async function publishLines(client: NidoClient, message: Message, session: Session): Promise<void> {
  let refused = 0;
  let batch: Promise<unknown>[] = [];
  const settle = async (): Promise<void> => {
    const results = await Promise.allSettled(batch);
    batch = [];
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      refused += 1;
      session.complain((result.reason as Error).message);
    }
  };
  const publish = async (line: Uint8Array): Promise<void> => {
    batch.push(client.publish(message.topic, line, message.options));
    if (batch.length >= LINES_MAX) await settle();
  };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of process.stdin) {
    const bytes = rest.length === 0 ? chunk as Buffer : Buffer.concat([rest, chunk as Buffer]);
    let at = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, at)) {
      await publish(bytes.subarray(at, end));
      at = end + 1;
    }
    rest = bytes.subarray(at);
    if (batch.length > 0) await settle(); // who types sees each line leave
  }
  if (rest.length > 0) await publish(rest);
  await settle();
  if (refused > 0) throw new CommandEnded(EXIT_FAILED);
}
