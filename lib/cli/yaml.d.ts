/** The little that config-file.ts uses of the package `yaml`. */
declare module 'yaml' {
  export function parse(text: string, options?: { readonly prettyErrors?: boolean }): unknown;
}
