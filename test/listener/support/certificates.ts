/** Throw-away certificates, made with the openssl command line. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
}

export class Certificates {
  readonly folder = mkdtempSync(join(tmpdir(), 'nidomq-certificates-'));
  readonly caFile: string;
  readonly #authority: Pair;

  constructor(name = 'Test Authority') {
    this.#authority = this.selfSigned('authority', name);
    this.caFile = this.#authority.certFile;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  selfSigned(file: string, commonName: string): Pair {
    const pair = this.#pair(file);
    openssl(['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
      '-keyout', pair.keyFile, '-out', pair.certFile, '-days', '2', '-subj', `/CN=${commonName}`]);
    return pair;
  }

  /** Signed by this authority. */
  issue(file: string, subject: string, alternativeNames: string): Pair {
    const pair = this.#pair(file);
    const request = this.path(`${file}.csr`);
    const extensions = this.path(`${file}.ext`);
    openssl(['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
      '-keyout', pair.keyFile, '-out', request, '-subj', subject]);
    writeFileSync(extensions, `subjectAltName=${alternativeNames}\n`);
    openssl(['x509', '-req', '-in', request, '-CA', this.#authority.certFile,
      '-CAkey', this.#authority.keyFile, '-CAcreateserial', '-days', '2', '-extfile', extensions,
      '-out', pair.certFile]);
    return pair;
  }

  server(file = 'server', name = 'localhost'): Pair {
    return this.issue(file, `/CN=${name}`, `DNS:${name},IP:127.0.0.1`);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #pair(file: string): Pair {
    return { certFile: this.path(`${file}.crt`), keyFile: this.path(`${file}.key`) };
  }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
