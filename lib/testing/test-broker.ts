/**
 * A whole broker for tests: no ports, no sockets, a clock that the test moves, clients whose wire
 * it can cut.
 *
 *     const broker = await TestBroker.start();
 *     const device = await broker.connect({ clientId: 'sensor', protocolVersion: 4 });
 *     await device.publish('casa/sala/temperatura', '21.5');
 *     await broker.expectPublished('casa/+/temperatura', { payload: '21.5' });
 */
import { Broker } from '../broker/broker.js';
import type { BrokerOptions } from '../broker/broker-options.js';
import type { CloseOptions } from '../broker/broker.js';
import { createMemoryEngine } from '../engine/index.js';
import type { Engine } from '../engine/index.js';
import { Inbox } from './inbox.js';
import type { Expectation, SeenMessage } from './inbox.js';
import { MemoryTransport, memorySocketPair } from './memory-socket.js';
import type { MemorySocket } from './memory-socket.js';
import { TestClient, Wire } from './test-client.js';
import type { TestClientOptions } from './test-client.js';
import { ProcessClock, VirtualClock, turn } from './virtual-clock.js';

/** Options of a broker, without doors. */
export interface TestBrokerOptions extends Omit<BrokerOptions, 'listeners'> {
  /**
   * `survives-kill`: sessions, queues and retained messages are kept on something that stands for a
   * disk, in memory, and acknowledged when they are. Default `lost`.
   */
  readonly state?: 'lost' | 'survives-kill';
}

/** What a killed broker leaves to the one after it. */
interface BeforeKill {
  readonly clock: VirtualClock;
  readonly engine: Engine | undefined;
}

/** Turns without any traffic after which a broker counts as quiet. */
const QUIET_TURNS = 3;
/** The same while handlers are at work, which may just wait for the time to go by. */
const QUIET_TURNS_AT_WORK = 100;
const QUIET_TURNS_MAX = 10_000;
/** Real time for work that waits for something outside, when an application closes. */
const SOON_MS = 500;

export class TestBroker extends Broker {
  readonly clock: VirtualClock;
  /** Every message that was published, `$SYS` left out. */
  readonly published = new Inbox();
  readonly #given: TestBrokerOptions;
  readonly #sockets = new Set<MemorySocket>();
  readonly #clients = new Set<TestClient>();
  readonly #engine: Engine | undefined;
  readonly #process: ProcessClock;
  #listening: Promise<void> | undefined;
  #life: 'alive' | 'killed' = 'alive';

  /** `await TestBroker.start(options)` is shorter; in Nest, the strategy calls `listen()`. */
  constructor(options: TestBrokerOptions = {}, before?: BeforeKill) {
    const { state = 'lost', ...broker } = options;
    const clock = before?.clock ?? new VirtualClock();
    const process = new ProcessClock(clock);
    const engine =
      before?.engine ??
      (state === 'lost' ? undefined : createMemoryEngine({ durability: 'disk' }));
    super({ logger: false, ...broker, listeners: [] }, { clock: process, engine });
    this.clock = clock;
    this.#process = process;
    this.#engine = engine;
    this.#given = options;
  }

  static async start(options: TestBrokerOptions = {}): Promise<TestBroker> {
    const broker = new TestBroker(options);
    await broker.listen();
    return broker;
  }

  /** May be called more than once. */
  override listen(): Promise<void> {
    this.#listening ??= this.#listen();
    return this.#listening;
  }

  /** A client that is connected: MQTT 5 without keep alive, unless the options say otherwise. */
  async connect(options: TestClientOptions = {}): Promise<TestClient> {
    await this.listen();
    const client = new TestClient(new Wire(() => this.#plug()), options);
    this.#clients.add(client);
    client.on('end', () => this.#clients.delete(client));
    client.start();
    await client.connected();
    return client;
  }

  /** Waits for a message that was or will be published; rejects with a list of those that were. */
  expectPublished(topicFilter: string, expectation: Expectation = {}): Promise<SeenMessage> {
    return this.published.expect(topicFilter, expectation);
  }

  /** Moves the time on: keep alives, session expiry, will delays and timeouts happen. */
  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.quiet();
  }

  /**
   * Resolves when nothing is on its way and no handler is at work, or those that are have done
   * nothing for a while.
   */
  async quiet(): Promise<void> {
    let last = '';
    let needed = QUIET_TURNS;
    for (let idle = 0, turns = 0; idle < needed && turns < QUIET_TURNS_MAX; turns += 1) {
      await turn();
      const { bytesReceived, bytesSent, handlersRunning } = this.stats();
      const now = `${bytesReceived} ${bytesSent} ${this.published.messages.length}`;
      idle = now === last ? idle + 1 : 0;
      needed = handlersRunning === 0 ? QUIET_TURNS : QUIET_TURNS_AT_WORK;
      last = now;
    }
  }

  /** Breaks the wires of all clients, as a network that fails. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * The process of the broker is gone from one moment to the next: every wire breaks, nobody says
   * goodbye, no will is published, nothing that is due happens any more.
   */
  async kill(): Promise<void> {
    if (this.#life === 'killed') return;
    this.#life = 'killed';
    this.#process.stop();
    for (const socket of this.#sockets) socket.kill();
    this.#sockets.clear();
    await turn();
    await this.#engine?.close();
  }

  /**
   * The broker that is started after `kill`, with what the killed one had kept, on the same clock.
   */
  async recover(): Promise<TestBroker> {
    await this.kill();
    const next = new TestBroker(this.#given, { clock: this.clock, engine: this.#engine });
    await next.listen();
    return next;
  }

  /**
   * @internal Time stands still here: what does not end by itself, such as a handler that is to run
   * again later, gets all of its time at once.
   */
  override async settled(work: Promise<unknown>, ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const soon = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.min(ms, SOON_MS));
    });
    const ended = work.then(() => 'ended', () => 'ended');
    const first = await Promise.race([ended, soon]);
    clearTimeout(timer);
    if (first !== 'ended') await this.advance(ms);
  }

  /** Ends its clients, too. */
  override async close(options: CloseOptions = {}): Promise<void> {
    if (this.#life === 'killed') return;
    await Promise.all([...this.#clients].map((client) => client.end({ deadlineMs: 0 })));
    // Time stands still here: a deadline would never pass.
    await Promise.race([super.close(options), this.#timeForClosing()]);
  }

  async #listen(): Promise<void> {
    // First, so that wills which a killed broker left are seen as well.
    await this.subscribe('#', (message) => this.published.add(message), {
      ack: 'on-receipt',
      retainAsPublished: true,
      retainHandling: 2,
    });
    await super.listen();
  }

  /** Closing waits for handlers and clients within a deadline of the broker's clock. */
  async #timeForClosing(): Promise<void> {
    const { closeDeadlineMs } = this.options.limits;
    await this.quiet();
    await this.clock.advance(closeDeadlineMs);
    await super.close();
  }

  #plug(): MemorySocket {
    const [mine, theirs] = memorySocketPair();
    this.#sockets.add(mine);
    mine.once('close', () => this.#sockets.delete(mine));
    this.accept(new MemoryTransport(mine));
    return theirs;
  }
}
