// Compiles programs one after the other in one process, as tsc would: the compiler warms up once,
// and what all programs declare is parsed once. Takes a JSON list of
// `{ cwd, words }` as its argument; prints a JSON list of what there is to complain about.
import { join } from 'node:path';
import typescript from 'typescript';

const { sys } = typescript;
const parsed = new Map();

/** A host that parses a declaration file once for all programs that take it for the same. */
function hostOf(options, cwd) {
  const host = typescript.createCompilerHost(options);
  const parse = host.getSourceFile;
  host.getCurrentDirectory = () => cwd;
  host.getSourceFile = (file, how, ...more) => {
    if (!/\.d\.[cm]?ts$/.test(file)) return parse(file, how, ...more);
    const { languageVersion, impliedNodeFormat, packageJsonScope } = how;
    const key = [file, languageVersion, impliedNodeFormat, packageJsonScope === undefined].join();
    if (!parsed.has(key)) parsed.set(key, parse(file, how, ...more));
    return parsed.get(key);
  };
  return host;
}

function complaints({ cwd, words }) {
  const { options, fileNames, errors } = typescript.parseCommandLine(words, sys.readFile);
  const host = hostOf(options, cwd);
  const program = typescript.createProgram({
    rootNames: fileNames.map((name) => join(cwd, name)), options, host,
  });
  const found = [...errors, ...typescript.getPreEmitDiagnostics(program)];
  return typescript.formatDiagnostics(found, host);
}

console.log(JSON.stringify(JSON.parse(process.argv[2]).map(complaints)));
