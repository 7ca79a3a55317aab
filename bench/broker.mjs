// The broker beside mosquitto and aedes: CPU time per delivered message, delay, memory.
//   node bench/broker.mjs [--only pairs,fanout] [--rounds 3] [--seconds 3] [--quick] [--version 5]
//     [--brokers nidomq,mosquitto,aedes] [--json FILE] [--gate]
//   node bench/broker.mjs --compare a.json b.json
// Every run has a fresh broker; rounds are interleaved, so that what else the machine does hits
// all of them. Every received message is verified. Loopback only. Build first (`npm run bench`
// does). `--gate` fails when a bar of bench/load/scenarios.mjs is missed.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { availableBrokers } from './load/brokers.mjs';
import { machine, runRounds, spreadText, summarise, tidy } from './load/measure.mjs';
import { SCENARIOS, quick } from './load/scenarios.mjs';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    brokers: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    version: { type: 'string', default: '4' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    gate: { type: 'boolean', default: false },
    compare: { type: 'boolean', default: false },
  },
});

function chosenScenarios() {
  let scenarios = values.gate
    ? SCENARIOS.filter(({ ratioMax, max }) => ratioMax !== undefined || max !== undefined)
    : SCENARIOS;
  if (values.only !== undefined) {
    const wanted = values.only.split(',');
    scenarios = scenarios.filter(({ name }) => wanted.some((start) => name.startsWith(start)));
  }
  if (scenarios.length === 0) throw new Error(`--only ${values.only}: no scenario starts with it`);
  return values.quick ? scenarios.map(quick) : scenarios;
}

function chosenBrokers(versions) {
  const here = Object.keys(versions);
  if (values.brokers === undefined) {
    return values.gate || values.version === '5' ? here.filter((name) => name !== 'aedes') : here;
  }
  const wanted = values.brokers.split(',');
  const missing = wanted.filter((name) => !here.includes(name));
  if (missing.length > 0) throw new Error(`--brokers: ${missing.join(', ')} is not here`);
  return wanted;
}

function printTable(rows, brokers) {
  console.log(`\n| scenario | figure | ${brokers.join(' | ')} | to mosquitto |`);
  console.log(`| --- | --- | ${brokers.map(() => '---:').join(' | ')} | ---: |`);
  for (const name of new Set(rows.map((row) => row.scenario))) {
    const own = rows.filter((row) => row.scenario === name);
    const { figure } = own[0];
    const cells = brokers.map((broker) => {
      const row = own.find((one) => one.broker === broker);
      return spreadText(row.figures[figure]) + (row.wrong === undefined ? '' : ' FAULTY');
    });
    console.log(`| ${name} | ${figure} | ${cells.join(' | ')} | ${tidy(ratio(own))} |`);
  }
  for (const row of rows.filter(({ wrong }) => wrong !== undefined)) {
    console.log(`FAULTY ${row.scenario} ${row.broker}: ${row.wrong}`);
  }
}

function ratio(rows) {
  const of = (broker) => {
    const row = rows.find((one) => one.broker === broker);
    return row?.figures[row.figure]?.median;
  };
  const ours = of('nidomq');
  const theirs = of('mosquitto');
  return ours === undefined || theirs === undefined ? undefined : ours / theirs;
}

/** Bars that were missed, in words. A bar that could not be measured is missed as well. */
function missedBars(scenarios, rows) {
  return scenarios.flatMap(({ name, figure, ratioMax, max }) => {
    const own = rows.filter((row) => row.scenario === name);
    const ours = own.find(({ broker }) => broker === 'nidomq');
    if (ours?.wrong !== undefined) return [`${name}: ${ours.wrong}`];
    const missed = [];
    const value = ours?.figures[figure]?.median;
    const measured = ratio(own);
    if (ratioMax !== undefined && !(measured <= ratioMax)) {
      missed.push(`${name}: ${tidy(measured)} x mosquitto, the bar is ${tidy(ratioMax)}`);
    }
    if (max !== undefined && !(value <= max)) {
      missed.push(`${name}: ${figure} ${tidy(value)}, the bar is ${max}`);
    }
    return missed;
  });
}

async function measureAll() {
  const versions = availableBrokers();
  const scenarios = chosenScenarios();
  const brokers = chosenBrokers(versions);
  const options = {
    version: Number(values.version),
    seconds: Number(values.seconds ?? (values.quick ? 0.5 : 3)),
    warmUpSeconds: values.quick ? 0.3 : 1,
  };
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const samples = await runRounds({
    brokers, scenarios, rounds, options,
    onSample: (sample) => console.error(`${sample.round} ${sample.scenario} ${sample.broker} `
      + (sample.failed ?? tidy(sample[scenarios.find(({ name }) =>
        name === sample.scenario).figure]))),
  });
  const rows = summarise(samples, scenarios, brokers);
  const report = {
    bench: 'broker', at: new Date().toISOString(), machine: machine(), versions, rounds, options,
    rows, samples,
  };
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
  }
  const { cpu, cores, kernel, node } = report.machine;
  console.log(`${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}; ${JSON.stringify(versions)}`);
  printTable(rows, brokers);
  if (!values.gate) return;
  const missed = missedBars(scenarios, rows);
  for (const line of missed) console.error(`MISSED ${line}`);
  console.log(missed.length === 0 ? 'All bars are kept.' : `${missed.length} bars are missed.`);
  if (missed.length > 0) process.exitCode = 1;
}

function compare([before, after]) {
  const [old, young] = [before, after].map((file) => JSON.parse(readFileSync(file, 'utf8')));
  console.log('| scenario | broker | figure | before | after | change |');
  console.log('| --- | --- | --- | ---: | ---: | ---: |');
  for (const row of young.rows) {
    const other = old.rows.find((one) =>
      one.scenario === row.scenario && one.broker === row.broker);
    const now = row.figures[row.figure];
    const then = other?.figures[row.figure];
    if (now === undefined || then === undefined) continue;
    const percent = Math.round((now.median / then.median - 1) * 100);
    const change = `${percent > 0 ? '+' : ''}${percent} %`;
    // A change inside the spread of the samples says nothing.
    const sure = now.min > then.max || now.max < then.min ? change : `(${change})`;
    console.log(`| ${row.scenario} | ${row.broker} | ${row.figure} | ${spreadText(then)} `
      + `| ${spreadText(now)} | ${sure} |`);
  }
}

if (values.compare) {
  if (positionals.length !== 2) throw new Error('--compare wants two files: BEFORE AFTER');
  compare(positionals);
} else {
  await measureAll();
}
