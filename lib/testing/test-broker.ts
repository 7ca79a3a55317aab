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
import { Inbox } from './inbox.js';
import type { Expectation, SeenMessage } from './inbox.js';
import { MemoryTransport, memorySocketPair } from './memory-socket.js';
import type { MemorySocket } from './memory-socket.js';
import { TestClient, Wire } from './test-client.js';
import type { TestClientOptions } from './test-client.js';
import { VirtualClock, turn } from './virtual-clock.js';

/** Options of a broker, without doors. */
export type TestBrokerOptions = Omit<BrokerOptions, 'listeners'>;

/** Turns without any traffic after which a broker counts as quiet. */
const QUIET_TURNS = 3;
const QUIET_TURNS_MAX = 10_000;

export class TestBroker extends Broker {
  readonly clock: VirtualClock;
  /** Every message that was published, `$SYS` left out. */
  readonly published = new Inbox();
  readonly #given: TestBrokerOptions;
  readonly #sockets = new Set<MemorySocket>();
  readonly #clients = new Set<TestClient>();
  #listening: Promise<void> | undefined;

  /** `await TestBroker.start(options)` is shorter; in Nest, the strategy calls `listen()`. */
  constructor(options: TestBrokerOptions = {}, clock: VirtualClock = new VirtualClock()) {
    super({ logger: false, ...options, listeners: [] }, { clock });
    this.clock = clock;
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

  /** Resolves when nothing is on its way and no handler is at work. */
  async quiet(): Promise<void> {
    let last = '';
    for (let idle = 0, turns = 0; idle < QUIET_TURNS && turns < QUIET_TURNS_MAX; turns += 1) {
      await turn();
      const { bytesReceived, bytesSent, handlersRunning } = this.stats();
      const now = `${bytesReceived} ${bytesSent} ${this.published.messages.length}`;
      idle = now === last && handlersRunning === 0 ? idle + 1 : 0;
      last = now;
    }
  }

  /** Breaks the wires of all clients, as a network that fails. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * As if the process had been killed and started again: every wire breaks, and a new broker on the
   * same engine and clock takes over. With the memory engine it starts empty.
   */
  async restart(): Promise<TestBroker> {
    this.cutAll();
    await super.close({ deadlineMs: 0 });
    const next = new TestBroker(this.#given, this.clock);
    await next.listen();
    return next;
  }

  /** Ends its clients, too. */
  override async close(options: CloseOptions = {}): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.end({ deadlineMs: 0 })));
    // Time stands still here: a deadline would never pass.
    await Promise.race([super.close(options), this.#timeForClosing()]);
  }

  async #listen(): Promise<void> {
    await super.listen();
    await this.subscribe('#', (message) => this.published.add(message), {
      ack: 'on-receipt',
      retainAsPublished: true,
      retainHandling: 2,
    });
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
