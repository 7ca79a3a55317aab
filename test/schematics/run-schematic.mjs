// Runs schematics of dist/ on trees in memory, as Nest's command line does: factories are loaded by
// Node's own require(), which jest replaces in its processes. Takes a question, sends the answer, for
// ever: what Nest's command line loads takes longer than a schematic runs.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { HostTree } = require('@angular-devkit/schematics');
const { SchematicTestRunner, UnitTestTree } = require('@angular-devkit/schematics/testing');

const COLLECTION = require.resolve('../../dist/schematics/collection.json');

async function run({ schematic, options, files }) {
  const runner = new SchematicTestRunner('nidomq', COLLECTION);
  const log = [];
  runner.logger.subscribe(({ level, message }) => log.push(`${level} ${message}`));
  const before = new UnitTestTree(new HostTree());
  for (const [path, content] of Object.entries(files)) before.create(path, content);
  const after = await runner.runSchematic(schematic, options, before);
  return {
    files: Object.fromEntries(after.files.map((path) => [path.slice(1), after.readContent(path)])),
    tasks: runner.tasks,
    log,
  };
}

process.on('message', (question) => {
  void run(question).then(
    (outcome) => process.send({ outcome }),
    (error) => process.send({ complaint: String(error.stack) }),
  );
});
