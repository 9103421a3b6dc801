# Sourced by scripts/bench: builds the peers that are compared with, under build/peers.

# llama.cpp's server, from the source that its Python package brings along, for this machine's processor. A failure is
# written down for the report, which says that the peer was not measured; the benchmark goes on.
build_llama_cpp() {
  local pins=scripts/requirements-peers.txt directory=build/peers/llama.cpp
  ! cmp -s "$pins" "$directory/requirements.stamp" || return 0
  say "building llama.cpp's server (a few minutes; log: $directory.log)"
  rm -rf "$directory"
  mkdir -p "$directory/source"
  if fetch_and_build_llama_cpp "$pins" "$directory" >"$directory.log" 2>&1; then
    cp "$pins" "$directory/requirements.stamp"
  else
    say "llama.cpp could not be built; its log is $directory.log"
    echo "it could not be built here: $(tail -n 1 "$directory.log")" >"$directory/unavailable.txt"
  fi
}

fetch_and_build_llama_cpp() {  # PINS DIRECTORY
  # Nothing is fetched at build time: no web interface, no TLS. One chain, because `set -e` does not hold in a condition.
  .deps/clients/bin/python -m pip download --disable-pip-version-check --no-deps --no-binary llama-cpp-python --require-hashes -r "$1" -d "$2" &&
    tar -xzf "$2"/llama_cpp_python-*.tar.gz -C "$2/source" --strip-components=3 --wildcards 'llama_cpp_python-*/vendor/llama.cpp' &&
    rm "$2"/llama_cpp_python-*.tar.gz &&
    sed -n 's/^\([a-z-]*\)==\([0-9.]*\).*/\1 \2/p' "$1" >"$2/version.txt" &&
    cmake -S "$2/source" -B "$2/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF \
      -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF &&
    ninja -C "$2/build" llama-server
}
