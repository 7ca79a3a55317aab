/**
 * A smart home in one process: an application that hosts an MQTT broker, and a few simulated
 * devices that come in over TCP.
 *
 *     npm start                    runs until Ctrl-C
 *     npm start -- --rounds 1      ends after one round
 */
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Door, Lamp, Thermometer, lookAtThePhone } from './devices.js';
import { openHome } from './home.js';
import { chapter } from './report.js';

const STEP_MS = 700;
const ROUND_PAUSE_MS = 5_000;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: 'Infinity' } } });
const rounds = Number(values.rounds);
const stopping = new AbortController();
process.once('SIGINT', () => stopping.abort());
process.once('SIGTERM', () => stopping.abort());

console.log('Casa: this process hosts an MQTT broker; its devices are clients over TCP.\n');
const home = await openHome();
console.log(`
The broker listens on 127.0.0.1:${home.port}. Join in from another terminal:

  mosquitto_sub -h 127.0.0.1 -p ${home.port} -t 'casa/#' -v
  mosquitto_pub -h 127.0.0.1 -p ${home.port} -t casa/sala/luz/set -m on -q 1

Ctrl-C ends it.`);

chapter('The devices connect');
const lamp = await Lamp.start(home.port, 'sala');
const door = await Door.start(home.port);
const sala = await Thermometer.start(home.port, 'sala', 4);

try {
  for (let round = 1; round <= rounds; round += 1) {
    if (round > 1) await step(ROUND_PAUSE_MS);
    await playRound();
  }
} catch (error) {
  if (!stopping.signal.aborted) throw error;
}

chapter('The house goes to sleep');
await Promise.all([lamp.stop(), door.stop(), sala.stop()]);
await home.close();
console.log('All devices said goodbye, the broker is closed.');

async function playRound(): Promise<void> {
  chapter('Temperatures: QoS 0, retained; every handler that matches runs, once');
  await sala.measure(21.5);
  await step();
  await sala.measure(25.2);
  await step();

  chapter('Somebody comes home: an event at QoS 1, a command with a reply');
  await door.move('abierta');
  await step();
  await door.move('cerrada');
  await step();

  chapter('A device dies: the broker publishes its will');
  const cocina = await Thermometer.start(home.port, 'cocina', 5);
  await cocina.measure(22);
  await step();
  cocina.loseBattery();
  await step();

  chapter('A phone joins late: retained messages tell it everything');
  await lookAtThePhone(home.port);
}

async function step(ms = STEP_MS): Promise<void> {
  await pause(ms, undefined, { signal: stopping.signal });
}
