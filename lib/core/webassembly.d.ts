/** The part of WebAssembly that this folder uses; neither ES2023 nor @types/node declares it. */
declare namespace WebAssembly {
  class Global {
    value: number;
  }
  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): { module: string; name: string; kind: string }[];
  }
  class Instance {
    constructor(module: Module, imports?: object);
    readonly exports: unknown;
  }
  interface Memory {
    grow(pages: number): number;
    readonly buffer: ArrayBuffer;
  }
}
