/** Command lines of `nidomq`, in a process each or many in one, and what came of them. */
import { fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Stage } from '../client/support/servers.js';
import { COMMAND } from './child.js';

const COMMAND_LINES = join(process.cwd(), 'test/cli/command-lines.mjs');

export interface Result {
  readonly status: number | null;
  readonly out: Buffer;
  readonly err: string;
}

/** Some program, no longer than the test. */
export function run(
  stage: Stage, command: string, words: readonly string[], input?: Buffer | string,
): Promise<Result> {
  const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  stage.onStop(() => child.kill('SIGKILL'));
  const out: Buffer[] = [];
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', (status) =>
    resolve({ status, out: Buffer.concat(out), err })));
}

/** As a script runs it. */
export function nidomqProcess(
  stage: Stage, words: readonly string[], input?: Buffer | string,
): Promise<Result> {
  if (!existsSync(COMMAND)) throw new Error('dist/ is missing: run `npm run build`');
  return run(stage, process.execPath, [COMMAND, ...words], input);
}

/** One process for all command lines of a test file that have no input. */
export class CommandLines {
  #process: ChildProcess | undefined;
  #last = 0;
  readonly #waiting = new Map<number, {
    readonly resolve: (result: Result) => void;
    readonly reject: (error: Error) => void;
  }>();

  run(words: readonly string[]): Promise<Result> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#started().send({ id, words }, (error) => { if (error !== null) reject(error); });
    });
  }

  stop(): void {
    this.#process?.kill('SIGKILL');
  }

  #started(): ChildProcess {
    if (this.#process !== undefined) return this.#process;
    this.#process = fork(COMMAND_LINES, { serialization: 'advanced', execArgv: [] });
    this.#process.on('message', (answer: Result & { readonly id: number }) => {
      const { id, ...result } = answer;
      this.#waiting.get(id)?.resolve({ ...result, out: Buffer.from(result.out) });
      this.#waiting.delete(id);
    });
    this.#process.on('exit', (code, signal) => {
      const error = new Error(`the process of the command lines ended: ${code ?? signal}`);
      for (const { reject } of this.#waiting.values()) reject(error);
    });
    return this.#process;
  }
}
