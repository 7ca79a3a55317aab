// Commands of a script that runs other people's tools: to the end, or until they are ready.
import { spawn } from 'node:child_process';

const RUN_DEADLINE_MS = 600_000;
const READY_DEADLINE_MS = 120_000;
const GOODBYE_MS = 15_000;
const POLL_MS = 20;

/** A shell command with everything it says. `options` are those of spawn. */
export class Command {
  said = '';
  status;

  constructor(line, options) {
    this.line = line;
    // A group of its own: npm, npx and nest start children, and all of them are to go.
    this.child = spawn('bash', ['-c', line], { ...options, detached: true, stdio: 'pipe' });
    this.child.stdin.end();
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { this.said += text; });
    }
    this.ended = new Promise((resolve) => {
      this.child.on('close', (status, signal) => {
        this.status = status ?? signal;
        resolve(this.status);
      });
    });
  }

  /** Resolves with what it said; rejects when it fails or does not end. */
  async succeeds() {
    const timer = setTimeout(() => this.#signal('SIGKILL'), RUN_DEADLINE_MS);
    const status = await this.ended;
    clearTimeout(timer);
    if (status !== 0) throw this.#error(`ended with ${status}`);
    return this.said;
  }

  /** Resolves when it has said `pattern` (a RegExp); rejects when it ends before, or never does. */
  async says(pattern) {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (!pattern.test(this.said)) {
      if (this.status !== undefined) throw this.#error(`ended before it said ${pattern}`);
      if (Date.now() > deadline) throw this.#error(`never said ${pattern}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async stop() {
    this.#signal('SIGTERM');
    const timer = setTimeout(() => this.#signal('SIGKILL'), GOODBYE_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #signal(name) {
    try {
      process.kill(-this.child.pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  #error(what) {
    return new Error(`${this.line}\n${what}. It said:\n${this.said}`);
  }
}
