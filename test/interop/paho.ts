/** paho-mqtt (Python) as a Library: one driver process, JSON lines. */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { Inbox, SESSION_EXPIRY_SECONDS } from './client.js';
import type {
  ConnectSettings, InteropClient, Library, MessageProperties, PublishSettings,
} from './client.js';

/** Debian's python3-paho-mqtt belongs to the system's Python. */
const PYTHON = '/usr/bin/python3';
const ANSWER_MS = 8000;

export const pahoMissing = (): string | undefined =>
  spawnSync(PYTHON, ['-c', 'import paho.mqtt.client']).status === 0
    ? undefined : `${PYTHON} has no paho-mqtt (Debian: python3-paho-mqtt)`;

type Fields = Record<string, unknown>;
interface Waiter {
  readonly fits: (event: Fields) => boolean;
  readonly settle: (event: Fields) => void;
}

function toPaho(properties: MessageProperties = {}): Fields | undefined {
  const fields: Fields = {
    PayloadFormatIndicator: properties.payloadFormat, ContentType: properties.contentType,
    ResponseTopic: properties.responseTopic, CorrelationData: properties.correlationData,
    UserProperty: properties.user, SubscriptionIdentifier: properties.subscriptionIdentifier,
  };
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length > 0 ? Object.fromEntries(given) : undefined;
}

function fromPaho(fields: Fields): MessageProperties {
  const subscription = fields['SubscriptionIdentifier'] as number[] | undefined;
  const properties = {
    payloadFormat: fields['PayloadFormatIndicator'], contentType: fields['ContentType'],
    responseTopic: fields['ResponseTopic'], correlationData: fields['CorrelationData'],
    user: fields['UserProperty'], subscriptionIdentifier: subscription?.[0],
  };
  return Object.fromEntries(
    Object.entries(properties).filter(([, value]) => value !== undefined)) as MessageProperties;
}

export class PahoLibrary implements Library {
  readonly name = 'paho-mqtt';
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiters = new Set<Waiter>();
  private readonly inboxes = new Map<string, Inbox>();
  private count = 0;

  constructor() {
    this.child = spawn(PYTHON, [join(process.cwd(), 'test', 'interop', 'paho_driver.py')]);
    createInterface({ input: this.child.stdout }).on('line', (line) =>
      this.heard(JSON.parse(line)));
  }

  async connect(settings: ConnectSettings): Promise<InteropClient> {
    const { endpoint, version, clientId, will, persistent } = settings;
    const key = `c${++this.count}`;
    const inbox = new Inbox();
    this.inboxes.set(key, inbox);
    const connected = await this.ask(
      { command: 'connect', key, version, clientId, will, clean: !persistent,
        host: endpoint.host, port: endpoint.port, expiry: persistent ? SESSION_EXPIRY_SECONDS : 0 },
      (event) => event['event'] === 'connected');
    if (connected['code'] !== 0) throw new Error(`refused with ${String(connected['code'])}`);
    const done = (what: string) => (event: Fields): boolean => event['what'] === what;
    const closed = (event: Fields): boolean => event['event'] === 'closed';
    return {
      inbox,
      sessionPresent: Boolean(connected['present']),
      subscribe: async (filter, qos, subscriptionIdentifier) => {
        const properties = subscriptionIdentifier === undefined
          ? undefined : toPaho({ subscriptionIdentifier });
        const suback = await this.ask(
          { command: 'subscribe', key, version, filter, qos, properties }, done('subscribe'));
        if ((suback['granted'] as number[]).some((code) => code > 2)) throw new Error('refused');
      },
      unsubscribe: async (filter) =>
        void (await this.ask({ command: 'unsubscribe', key, filter }, done('unsubscribe'))),
      publish: async (topic, payload, options: PublishSettings = {}) => void (await this.ask({
        command: 'publish', key, topic, payload: Buffer.from(payload).toString('hex'),
        qos: options.qos ?? 0, retain: options.retain ?? false,
        properties: toPaho(options.properties),
      }, done('publish'))),
      end: async () => void (await this.ask({ command: 'end', key }, closed)),
      cut: async () => void (await this.ask({ command: 'cut', key }, closed)),
    };
  }

  close(): Promise<void> {
    this.child.stdin.end();
    this.child.kill('SIGKILL');
    return Promise.resolve();
  }

  private heard(event: Fields): void {
    if (event['event'] === 'message') {
      this.inboxes.get(event['key'] as string)?.add({
        topic: event['topic'] as string,
        payload: Buffer.from(event['payload'] as string, 'hex'),
        qos: event['qos'] as number,
        retain: event['retain'] as boolean,
        properties: fromPaho(event['properties'] as Fields),
      });
      return;
    }
    for (const waiter of this.waiters) {
      if (event['event'] === 'error' || waiter.fits(event)) waiter.settle(event);
    }
  }

  private ask(command: Fields, fits: (event: Fields) => boolean): Promise<Fields> {
    return new Promise((resolve, reject) => {
      const settle = (event: Fields): void => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        if (event['event'] === 'error') reject(new Error(String(event['message'])));
        else resolve(event);
      };
      const late =
        new Error(`paho did not answer ${String(command['command'])} in ${ANSWER_MS} ms`);
      const timer = setTimeout(() => {
        this.waiters.delete(waiter);
        reject(late);
      }, ANSWER_MS);
      const waiter: Waiter = {
        fits: (event) => event['key'] === command['key'] && fits(event), settle,
      };
      this.waiters.add(waiter);
      this.child.stdin.write(`${JSON.stringify(command)}\n`);
    });
  }
}
