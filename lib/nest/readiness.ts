/** The gate in front of all handlers: shut until the application is bootstrapped. */

export class ReadinessGate {
  #state: 'waiting' | 'open';
  readonly #waiting: (() => void)[] = [];

  constructor(state: 'waiting' | 'open') {
    this.#state = state;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  whenOpen(): Promise<void> {
    if (this.isOpen) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  open(): void {
    this.#state = 'open';
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
