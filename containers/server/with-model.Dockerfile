# A server with its model in it, which fetches nothing when it starts. The trainer's image, which has what building takes,
# makes the package or fetches it; the server's image gets the package alone. After both are built:
#   docker build -f containers/server/with-model.Dockerfile --build-arg MODEL=sentence-transformers/all-MiniLM-L6-v2 .
# MODEL is a Hugging Face hub id, a gs:// URI or the https:// address of an archive; the last two want DIGEST, too, where
# they name a package. The build's log ends with the package's directory and digest.
ARG TRAINER=tunelane/trainer:python3.11
ARG SERVER=tunelane/server:python3.11

FROM ${TRAINER} AS model
ARG MODEL
ARG DIGEST=
RUN tunelane-ensure-model "${MODEL:?Pass --build-arg MODEL=}" ${DIGEST:+--digest "${DIGEST}"} --home models > ensured \
    && cat ensured \
    && cp -r "$(head -n 1 ensured)" package

FROM ${SERVER}
COPY --from=model /home/tunelane/package /package
