/** `nidomq start`: a broker in this process, until it is told to stop. */
import { setFlagsFromString } from 'node:v8';
import type { Command } from 'commander';
import type { Broker } from '../../broker/broker.js';
import type { RestoringEvent } from '../../broker/events.js';
import type { FileEngineOptions } from '../../engine/index.js';
import { BROKER_VERSION } from '../../broker/sys-topics.js';
import { CliError, codeOf } from '../cli-error.js';
import type { RegisterCommand } from '../command.js';
import type { CliOutput } from '../output.js';
import { openGuard } from '../guards.js';
import { openControlChannel } from '../control-channel.js';
import { readSettings } from '../settings.js';
import type { Settings, StartFlags } from '../settings.js';
import { reloadOnHangup, stopOnSignals } from '../signals.js';

const OPEN_DOOR = 'NIDO_LISTENER_OPEN';
/**
 * V8 lets the heap of a process double before it collects what is dead. A broker's heap is its
 * connections: after 10,000 of them had come and gone five times the process had 1.65 times the
 * memory of the first time, with this 1.05 times (`npm run bench:ramps`).
 */
const HEAP_FLAGS = '--heap-growing-percent=10';

export const registerStart: RegisterCommand = (program, output) => {
  describeFlags(program.command('start').description('start a broker')).action(
    async (flags: StartFlags) => {
      const settings = await readSettings(flags);
      await start(settings, output);
    },
  );
};

function describeFlags(command: Command): Command {
  return command
    .option('--host <address>', 'address to bind (default: 127.0.0.1, this machine only)')
    .option('--port <number>', 'TCP port; 0 takes a free one (default: 1883)')
    .option('--engine <name>', 'where sessions and messages live: file or memory (default: file)')
    .option('--data <folder>', 'folder of the file engine (default: ./nidomq-data)')
    .option('--durability <level>', 'of the file engine: disk, os or memory (default: disk)')
    .option('--config <file>', 'JSON or YAML file of options')
    .option('--set <path=value>', 'one option, may be repeated; see `nidomq options`', collect)
    .option('--allow-anonymous', 'let everybody in who can reach the listener')
    .option('--password-file <file>', 'users and passwords, the format of mosquitto_passwd')
    .option('--acl-file <file>', 'who may do what, the format of mosquitto\'s acl_file');
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

async function start(settings: Settings, output: CliOutput): Promise<void> {
  setFlagsFromString(HEAP_FLAGS);
  const guard = await openGuard(settings, output);
  const { Broker } = await import('../../broker/broker.js');
  try {
    const broker = new Broker({ ...settings.broker, ...guard?.options });
    const addresses: string[] = [];
    broker.on('listening', ({ address }) => addresses.push(address));
    broker.on('restoring', (event) => output.errorLine(restoringLine(event)));
    await broker.listen();
    const channel = await openChannel(broker, settings, output);
    stopOnSignals(() => {
      channel?.close();
      return stop(broker, guard, output);
    }, output);
    reloadOnHangup(async () => {
      guard?.reload();
      await broker.reload();
    }, output);
    output.line(readyLine(addresses, settings));
  } catch (error) {
    guard?.close();
    throw codeOf(error) === OPEN_DOOR ? withCures(error as Error) : error;
  }
}

/** For `nidomq check` and `nidomq snapshot`; a broker without it serves its clients as well. */
async function openChannel(
  broker: Broker, settings: Settings, output: CliOutput,
): Promise<{ close(): void } | undefined> {
  const file = fileOf(settings);
  if (file === undefined) return undefined;
  try {
    const channel = await openControlChannel(file.path, broker);
    if (channel !== undefined) return channel;
    output.errorLine(`nidomq: ${file.path} is too long a path for the socket of check and `
      + 'snapshot: they need this broker to be stopped');
  } catch (error) {
    output.errorLine('nidomq: check and snapshot need this broker to be stopped, because their '
      + `socket cannot be opened: ${(error as Error).message}`);
  }
  return undefined;
}

/** undefined when nothing is kept. */
function fileOf({ broker }: Settings): FileEngineOptions | undefined {
  const { engine } = broker;
  const file = typeof engine === 'object' ? engine.file : undefined;
  return file?.durability === 'memory' ? undefined : file;
}

async function stop(
  broker: Broker, guard: { close(): void } | undefined, output: CliOutput,
): Promise<void> {
  output.line('nidomq stops: nobody new comes in, what is on its way is finished');
  await broker.close();
  guard?.close();
  output.line('nidomq has stopped');
}

function readyLine(addresses: readonly string[], settings: Settings): string {
  const file = fileOf(settings);
  const promise = file === undefined ? 'memory, nothing survives a restart'
    : `file ${file.path}, durability ${file.durability ?? 'disk'}`;
  return `nidomq ${BROKER_VERSION} is ready on ${addresses.join(', ')} (engine ${promise})`;
}

/** A start that takes long says how far it is. */
function restoringLine(event: RestoringEvent): string {
  const counts: readonly (readonly [number, string])[] = [
    [event.converted, 'records of an earlier version converted'],
    [event.sessions, 'sessions'],
    [event.subscriptions, 'subscriptions'],
    [event.retainedMessages, 'retained messages'],
    [event.queuedMessages, 'queued messages'],
  ];
  const done = counts.filter(([count]) => count > 0)
    .map(([count, what]) => `${count.toLocaleString('en')} ${what}`);
  return `nidomq restores what is stored: ${done.join(', ')} so far`;
}

/** Both ways out: a refusal without one is answered by whatever a search finds first. */
function withCures(error: Error): CliError {
  return new CliError(OPEN_DOOR, [
    error.message,
    '  To ask for passwords:  nidomq start ... --password-file FILE',
    '      (make FILE with `mosquitto_passwd -c FILE USER`)',
    '  To let everybody in:   nidomq start ... --allow-anonymous',
  ].join('\n'), { cause: error });
}
