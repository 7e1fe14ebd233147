# shellcheck shell=bash
# The images of the demos, from the Dockerfile. Sourced, never run.

# Not by compose: that marks the images as its project's, and so all that is ever run from them.
build() { docker buildx build --load --progress plain --target "$1" --tag "$2" .; }

# build_images SERVICE...: the product, and what stands beside it, at once.
build_images() {
    local service build builds
    build product holdfast &
    builds=("$!")
    for service; do
        build "$service" "holdfast-$service" &
        builds+=("$!")
    done
    for build in "${builds[@]}"; do wait "$build"; done
}
