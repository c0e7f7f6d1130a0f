export default {
  files: ['test/**/*.test.ts', '!test/soak/**', '!test/clients/**'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=./tools/ts.mjs', '--conditions=@splitring/source'],
  require: ['./test/support/fixed-seed.ts'],
  workerThreads: false,
  timeout: '60s',
};
