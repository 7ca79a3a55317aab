/**
 * The application: it hosts the broker in its own process, and its handlers are subscribers without
 * a socket.
 */
import { randomUUID } from 'node:crypto';
import { Broker } from 'nidomq';
import { say } from './report.js';

const USUAL_PORT = 1883;
const ANY_FREE_PORT = 0;
const COMFORTABLE_CELSIUS = 24;

export interface Home {
  readonly port: number;
  close(): Promise<void>;
}

export async function openHome(): Promise<Home> {
  const broker = await hostBroker();
  const port = broker.listeners[0].port!;
  tellWhoComesAndGoes(broker);

  await broker.subscribe('casa/sala/+', ({ topicName, payload }) => {
    say('handler casa/sala/+', `${topicName} = ${payload.toString()}`);
  });
  await broker.subscribe('casa/+/temperatura', ({ topicName, payload }) => {
    const [, room] = topicName.split('/');
    const { celsius } = JSON.parse(payload.toString()) as { celsius: number };
    if (celsius > COMFORTABLE_CELSIUS) say('handler temperatura', `${room} is too warm: ${celsius}`);
  });
  await broker.subscribe('casa/+/termometro', ({ topicName, payload }) => {
    if (payload.toString() === 'perdido') say('handler termometro', `will of ${topicName}: lost`);
  });
  const ask = await requester(broker);
  await broker.subscribe('casa/entrada/puerta', async ({ payload }) => {
    const state = payload.toString();
    say('handler puerta', `the door is ${state}: switching the light`);
    const answer = await ask('casa/sala/luz/set', state === 'abierta' ? 'on' : 'off');
    say('handler puerta', `the lamp answered ${answer}`);
  });

  return { port, close: () => broker.close() };
}

/** 1883 when nobody has it, else a free port. */
async function hostBroker(): Promise<Broker> {
  for (const port of [USUAL_PORT, ANY_FREE_PORT]) {
    const broker = new Broker({ listeners: [{ host: '127.0.0.1', port }] });
    try {
      await broker.listen();
      return broker;
    } catch (error) {
      if ((error as { code?: string }).code !== 'NIDO_LISTENER_PORT_TAKEN') throw error;
      console.log(`Port ${port} is taken by another program: using a free one.`);
    }
  }
  throw new Error('no free port on 127.0.0.1');
}

function tellWhoComesAndGoes(broker: Broker): void {
  broker.on('clientDisconnected', ({ clientId, by }) => {
    if (by === 'network') say('broker', `${clientId} is gone without a goodbye`);
  });
}

/** Requests as MQTT 5 has them: a Response Topic, and Correlation Data to tell answers apart. */
async function requester(broker: Broker) {
  const responseTopic = `respuestas/${randomUUID()}`;
  const waiting = new Map<string, (answer: string) => void>();
  await broker.subscribe(responseTopic, ({ payload, properties }) => {
    waiting.get(String(properties.correlationData))?.(payload.toString());
  });
  return (topicName: string, command: string): Promise<string> => {
    const id = randomUUID();
    return new Promise((resolve, reject) => {
      waiting.set(id, (answer) => {
        waiting.delete(id);
        resolve(answer);
      });
      const properties = { responseTopic, correlationData: Buffer.from(id) };
      broker.publish(topicName, command, { qos: 1, properties }).catch(reject);
    });
  };
}
