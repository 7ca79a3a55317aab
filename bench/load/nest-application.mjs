// One Nest application as a process of its own: the same handler on one of the transports, or on
// the least that could feed it. `node nest-application.mjs '{"mode":"host","qos":0,...}'`
//
//   host      our strategy, hosting: the load generator is a client of the application
//   join      our strategy, joined to the broker at `port`
//   stock     Nest's own Transport.MQTT at the same broker
//   socket    a floor: a bare socket, PUBLISH packets cut out of it, JSON.parse, Nest's pipeline
//   pipeline  a floor: JSON.parse and Nest's pipeline in a loop, without any I/O
//
// A byte goes to file descriptor 4 for every PROGRESS messages that were handled.
import 'reflect-metadata';
import { writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MqttContext, Payload, Server, Transport } from '@nestjs/microservices';
import { FILTER, PROGRESS, TOPIC, idOf, payloadOf } from './nest-messages.mjs';

const { mode, qos, port, dist } = JSON.parse(process.argv[2]);
const PROGRESS_FD = 4;
const ONE = Buffer.from([1]);

let handled = 0;
let wanted = Infinity;
let before;
let wrong;

/** What every message of every transport comes to. */
class Handlers {
  async value(data) {
    if (data.id !== idOf(handled)) wrong ??= `message ${handled} has id ${data.id}`;
    handled += 1;
    if (handled % PROGRESS === 0 && mode !== 'pipeline') writeSync(PROGRESS_FD, ONE);
    if (handled === wanted) finished();
  }
}

function finished() {
  const { user, system } = process.cpuUsage(before);
  process.send({ kind: 'measured', micros: user + system, wrong });
}

function measure(count) {
  wanted = handled + count;
  before = process.cpuUsage();
  process.send({ kind: 'armed' });
}

function decorate() {
  const descriptor = Object.getOwnPropertyDescriptor(Handlers.prototype, 'value');
  Reflect.defineMetadata('design:paramtypes', [Object], Handlers.prototype, 'value');
  Payload()(Handlers.prototype, 'value', 0);
  EventPattern(FILTER, { qos })(Handlers.prototype, 'value', descriptor);
  Controller()(Handlers);
}

// --- floors ----------------------------------------------------------------------------------------

/** Gets the handler as any strategy does, and no more. */
class BareStrategy extends Server {
  on() {}
  unwrap() {}
  close() {}
  listen(callback) {
    callback();
  }
  get handler() {
    return this.messageHandlers.get(FILTER);
  }
}

function loop(handler) {
  const payloads = Array.from({ length: 1000 }, (_, at) => Buffer.from(payloadOf(at)));
  const context = new MqttContext([TOPIC, {}]);
  const batch = () => {
    for (let i = 0; i < PROGRESS && handled + i < wanted; i += 1) {
      void handler(JSON.parse(payloads[(handled + i) % 1000].toString()), context);
    }
    if (handled < wanted) setImmediate(batch);
  };
  process.on('message', ({ kind }) => {
    if (kind === 'measure') setImmediate(batch);
  });
}

/** Where a PUBLISH begins and what it holds; undefined while it is not whole. */
function packetAt(bytes, at) {
  if (at + 2 > bytes.length) return undefined;
  let length = bytes[at + 1] & 0x7f;
  let body = at + 2;
  if (bytes[at + 1] & 0x80) {
    length += (bytes[body] & 0x7f) << 7;
    body += 1;
  }
  return body + length > bytes.length ? undefined : { body, end: body + length };
}

function bareServer(handler) {
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    let carry = Buffer.alloc(0);
    let acknowledgements = [];
    const acknowledge = (packetId) => {
      if (acknowledgements.length === 0) {
        setImmediate(() => {
          socket.write(Buffer.from(acknowledgements));
          acknowledgements = [];
        });
      }
      acknowledgements.push(0x40, 2, packetId >> 8, packetId & 0xff);
    };
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      const bytes = carry.length === 0 ? data : Buffer.concat([carry, data]);
      let at = 0;
      for (let packet; (packet = packetAt(bytes, at)) !== undefined; at = packet.end) {
        if (bytes[at] >> 4 === 1) socket.write(Buffer.from([0x20, 2, 0, 0]));
        if (bytes[at] >> 4 !== 3) continue;
        const topicEnd = packet.body + 2 + bytes.readUInt16BE(packet.body);
        const payloadAt = topicEnd + (qos === 0 ? 0 : 2);
        const data_ = JSON.parse(bytes.toString('utf8', payloadAt, packet.end));
        const context = new MqttContext([TOPIC, undefined]);
        const done = handler(data_, context);
        if (qos > 0) {
          const packetId = bytes.readUInt16BE(topicEnd);
          done.then(() => acknowledge(packetId));
        }
      }
      carry = bytes.subarray(at);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });
}

// --- the application -------------------------------------------------------------------------------

async function transport() {
  const url = `mqtt://127.0.0.1:${port}`;
  if (mode === 'stock') {
    return { transport: Transport.MQTT, options: { url, subscribeOptions: { qos } } };
  }
  if (mode !== 'host' && mode !== 'join') return { strategy: new BareStrategy() };
  const { NidoStrategy } = await import(dist);
  const options = mode === 'join'
    ? { join: { url } } : { host: { listeners: [{ host: '127.0.0.1', port: 0 }] } };
  return { strategy: new NidoStrategy(options) };
}

async function listen({ strategy }, app) {
  await app.listen();
  if (mode === 'host') return app.unwrap().listeners[0].port;
  if (mode === 'socket') return bareServer(strategy.handler);
  if (mode === 'pipeline') loop(strategy.handler);
  return port;
}

decorate();
class AppModule {}
Module({ controllers: [Handlers] })(AppModule);
const options = await transport();
const app = await NestFactory.createMicroservice(AppModule, { ...options, logger: ['error'] });
process.on('message', ({ kind, count }) => {
  if (kind === 'measure') measure(count);
});
process.on('disconnect', () => process.exit());
process.send({ kind: 'listening', port: await listen(options, app) });
