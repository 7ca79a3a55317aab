// Flat configuration. Formatting is nobody's business here; rules are about mistakes that a reader
// misses. Sizes of functions, files and lines, and the direction of imports, are tests
// (test/house), not lint.
import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

const NODE_GLOBALS = {
  process: 'readonly', console: 'readonly', Buffer: 'readonly', URL: 'readonly',
  setTimeout: 'readonly', clearTimeout: 'readonly', setImmediate: 'readonly',
  setInterval: 'readonly', clearInterval: 'readonly', clearImmediate: 'readonly',
  performance: 'readonly', WebAssembly: 'readonly',
};

const NO_BOOLEAN_ARGUMENT = {
  selector: ':matches(FunctionDeclaration, TSEmptyBodyFunctionExpression,'
    + ' MethodDefinition > FunctionExpression) > Identifier.params'
    + ' > TSTypeAnnotation > TSBooleanKeyword',
  message: 'No boolean arguments: a call must say what it asks for. Use an options object.',
};

export default tseslint.config(
  // assembly/ is AssemblyScript: its types and decorators are not TypeScript's. asc checks it.
  {
    ignores: [
      'assembly/', '**/*.entry.ts', 'dist/', 'build/', 'coverage/', 'node_modules/',
      '**/*.generated.ts',
    ],
  },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': [
        'error', { fixStyle: 'separate-type-imports' },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/no-unused-vars': [
        'error', { argsIgnorePattern: '^_', caughtErrors: 'none' },
      ],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error', { considerDefaultExhaustiveForUnions: true },
      ],
      eqeqeq: 'error',
      'no-console': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['lib/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', NO_BOOLEAN_ARGUMENT] },
  },
  {
    // A command and an example talk to a person; decorated parameters need their types at run time.
    files: ['lib/cli/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
  {
    files: ['examples/**/*.ts', 'test/**/*.ts', 'lib/nest/**/*.ts'],
    rules: { '@typescript-eslint/consistent-type-imports': 'off' },
  },
  { files: ['**/*.mjs'], languageOptions: { globals: NODE_GLOBALS } },
);
