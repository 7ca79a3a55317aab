/** What the tests of the Nest room share: applications, brokers, clients, and waiting for things. */
import { Logger } from '@nestjs/common';
import type { INestApplication, INestMicroservice, LoggerService, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { connectAsync } from 'mqtt';
import type { IClientOptions, IPublishPacket, MqttClient } from 'mqtt';
import { Broker } from '../../lib/index.js';
import { NidoStrategy } from '../../lib/nest/index.js';
import type { NidoOptions } from '../../lib/nest/index.js';

const DEADLINE_MS = 5_000;
const POLL_MS = 5;

/** Collects what an application logs. */
export class LogBook implements LoggerService {
  readonly lines: string[] = [];
  log(message: unknown): void {
    this.lines.push(`log ${String(message)}`);
  }
  warn(message: unknown): void {
    this.lines.push(`warn ${String(message)}`);
  }
  error(message: unknown): void {
    this.lines.push(`error ${String(message)}`);
  }
  matching(pattern: RegExp): string[] {
    return this.lines.filter((line) => pattern.test(line));
  }
}

const toClose: (() => Promise<unknown>)[] = [];

/** In afterEach: closes everything that was opened, newest first. */
export async function closeAll(): Promise<void> {
  for (const close of toClose.splice(0).reverse()) await close();
  Logger.overrideLogger(false);
}

export function onClose(close: () => Promise<unknown>): void {
  toClose.push(close);
}

/** Resolves when `condition` holds; rejects, saying what was waited for, when it never does. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited for ${what} in vain`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export function aWhile(ms = 60): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function openBroker(): Promise<Broker> {
  const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: false });
  await broker.listen();
  onClose(() => broker.close());
  return broker;
}

export function urlOf(broker: Broker): string {
  return `mqtt://127.0.0.1:${broker.listeners[0].port}`;
}

export const HOSTED: NidoOptions = { host: { listeners: [{ host: '127.0.0.1', port: 0 }] } };

export interface Running {
  readonly app: INestMicroservice;
  readonly strategy: NidoStrategy;
  readonly log: LogBook;
  /** Of the broker, hosted or joined. */
  readonly url: string;
}

export type Mode = 'host' | 'join';

/** A microservice with a bare strategy in either mode. */
export async function startBare(
  module: Type<unknown>,
  mode: Mode,
  more: Partial<NidoOptions> = {},
): Promise<Running> {
  const log = new LogBook();
  const broker = mode === 'join' ? await openBroker() : undefined;
  const options =
    broker === undefined ? { ...HOSTED, ...more } : { join: { url: urlOf(broker) }, ...more };
  const strategy = new NidoStrategy(options as NidoOptions);
  const app = await NestFactory.createMicroservice(module, { strategy, logger: log });
  onClose(() => app.close());
  await app.listen();
  return { app, strategy, log, url: urlOf(broker ?? strategy.unwrap<Broker>()) };
}

export interface Device {
  readonly client: MqttClient;
  readonly received: IPublishPacket[];
}

/** A real MQTT.js client. */
export async function connectDevice(url: string, options: IClientOptions = {}): Promise<Device> {
  const client = await connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0, ...options });
  const received: IPublishPacket[] = [];
  client.on('message', (_topic, _payload, packet) => received.push(packet));
  client.on('error', () => undefined);
  onClose(() => client.endAsync(true).catch(() => undefined));
  return { client, received };
}

export type { INestApplication };
