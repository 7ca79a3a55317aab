/**
 * `nidomq check`, `nidomq snapshot` and `nidomq restore`: what can be done with the directory of
 * the file engine. The first two ask the broker that has it open, when there is one.
 */
import { resolve } from 'node:path';
import type { CheckReport, SnapshotReport } from '../../engine/index.js';
import { CliError, CommandEnded, EXIT_FAILED, codeOf } from '../cli-error.js';
import type { RegisterCommand } from '../command.js';
import { askBroker } from '../control-channel.js';
import type { CliOutput } from '../output.js';
import { DATA_FOLDER } from '../settings.js';

interface DataFlags {
  readonly data?: string;
  readonly json?: true;
}
const DATA_FLAG = [
  '--data <folder>', `folder of the file engine (default: ${DATA_FOLDER})`,
] as const;
const BYTES_PER_KIB = 1024;

export const registerCheck: RegisterCommand = (program, output) => {
  program
    .command('check')
    .description('read everything that is stored and say what cannot be trusted; ends with 1 then')
    .option(...DATA_FLAG)
    .option('--json', 'the report as JSON')
    .action(async ({ data = DATA_FOLDER, json }: DataFlags) => {
      const report = await checkOf(data);
      if (json) output.line(JSON.stringify(report, null, 2));
      else printCheck(data, report, output);
      if (report.losses.some(({ promised }) => promised)) throw new CommandEnded(EXIT_FAILED);
    });
};

async function checkOf(data: string): Promise<CheckReport> {
  const asked = await askBroker(data, { command: 'check' });
  if (asked !== undefined) return asked as CheckReport;
  const { checkDirectory } = await import('../../engine/index.js');
  return checkDirectory(resolve(data)).catch((error: unknown) => refuse(data, error));
}

function printCheck(data: string, report: CheckReport, output: CliOutput): void {
  for (const [what, count] of Object.entries(report.records)) {
    if (count > 0) output.line(`${String(count).padStart(12)}  ${what}`);
  }
  for (const { promised, detail } of report.losses) {
    output.line(promised ? `LOST: ${detail}` : `note: ${detail}`);
  }
  const lost = report.losses.filter(({ promised }) => promised).length;
  const verdict = lost === 0 ? 'everything can be trusted'
    : `${lost === 1 ? 'one thing' : `${lost} things`} that ${lost === 1 ? 'was' : 'were'} `
      + 'acknowledged cannot be trusted or found';
  output.line(`${data}: format ${report.formatVersion}, ${report.lastBatch} batches: ${verdict}`);
}

export const registerSnapshot: RegisterCommand = (program, output) => {
  program
    .command('snapshot')
    .description('copy what is stored at this moment; the broker that has it open goes on')
    .argument('<folder>', 'where the copy goes; must be empty or not exist')
    .option(...DATA_FLAG)
    .action(async (folder: string, { data = DATA_FOLDER }: DataFlags) => {
      const directory = resolve(folder);
      const asked = await askBroker(data, { command: 'snapshot', directory });
      printCopy((asked ?? await snapshotOf(data, directory)) as SnapshotReport, output);
    });
};

/** Of a directory that no broker has open. */
async function snapshotOf(data: string, directory: string): Promise<SnapshotReport> {
  const { snapshotDirectory } = await import('../../engine/index.js');
  return snapshotDirectory(resolve(data), directory)
    .catch((error: unknown) => refuse(data, error));
}

export const registerRestore: RegisterCommand = (program, output) => {
  program
    .command('restore')
    .description('make a data folder from a snapshot, and verify every value of it')
    .argument('<snapshot>', 'folder that `nidomq snapshot` wrote')
    .option('--data <folder>', `where it goes; empty or not there yet (default: ${DATA_FOLDER})`)
    .action(async (snapshot: string, { data = DATA_FOLDER }: DataFlags) => {
      const { restoreSnapshot } = await import('../../engine/index.js');
      printCopy(await restoreSnapshot(resolve(snapshot), resolve(data)), output);
    });
};

function printCopy(report: SnapshotReport, output: CliOutput): void {
  const { directory, records, bytes, milliseconds } = report;
  const size = `${records} records, ${Math.ceil(bytes / BYTES_PER_KIB)} KiB`;
  output.line(`${directory} is complete: ${size}, ${Math.round(milliseconds)} ms`);
}

function refuse(data: string, error: unknown): never {
  if (codeOf(error) !== 'NIDO_ENGINE_LOCKED') throw error;
  throw new CliError('NIDO_CLI_CONTROL',
    `${data} is in use by a process that does not answer commands. \`nidomq start\` does; an `
    + 'application that hosts the broker calls broker.snapshot() or broker.check() itself. '
    + 'Or stop it first.', { cause: error });
}
