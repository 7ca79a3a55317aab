/** A process that the tests start, with what it said so far. Never outlives its test. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SAY_DEADLINE_MS = 60_000;
export const COMMAND = join(process.cwd(), 'dist/cli/nidomq.js');

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Child {
  said = '';
  readonly ended: Promise<Ended>;
  private readonly process: ChildProcess;
  private waiting: (() => void)[] = [];

  constructor(words: readonly string[], folder = process.cwd(), command = process.execPath) {
    this.process = spawn(command, words, {
      cwd: folder, stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.said += text;
        for (const look of this.waiting) look();
      });
    }
    this.ended = new Promise((resolve) => {
      this.process.on('close', (status, signal) => {
        resolve({ status, signal });
        for (const look of this.waiting) look();
      });
    });
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }

  /** Resolves with the match once stdout or stderr has it; rejects when it ends or takes long. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(undefined), SAY_DEADLINE_MS);
      const settle = (match: RegExpExecArray | undefined): void => {
        clearTimeout(timer);
        this.waiting = this.waiting.filter((one) => one !== look);
        if (match) resolve(match);
        else reject(new Error(`it never said ${pattern}, but:\n${this.said}`));
      };
      const look = (): void => {
        const match = pattern.exec(this.said);
        if (match) settle(match);
        else if (this.process.exitCode !== null) settle(undefined);
      };
      this.waiting.push(look);
      look();
    });
  }
}

const children = new Set<Child>();

export function startChild(words: readonly string[], folder?: string): Child {
  return watched(new Child(words, folder));
}
/** Some other program. */
export function startCommand(command: string, words: readonly string[]): Child {
  return watched(new Child(words, undefined, command));
}
function watched(child: Child): Child {
  children.add(child);
  void child.ended.then(() => children.delete(child));
  return child;
}

const folders: string[] = [];

/** In a folder of its own: a server without further words keeps its data in the current one. */
export function startNidomq(...words: string[]): Child {
  const folder = mkdtempSync(join(tmpdir(), 'nidomq-child-'));
  folders.push(folder);
  return startNidomqIn(folder, ...words);
}

export function startNidomqIn(folder: string, ...words: string[]): Child {
  if (!existsSync(COMMAND)) {
    throw new Error('dist/ is missing: run `npm run build`, or `npm test`, which builds it');
  }
  return startChild([COMMAND, ...words], folder);
}

export async function killChildren(): Promise<void> {
  for (const child of children) child.signal('SIGKILL');
  await Promise.all([...children].map((child) => child.ended));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}
